package natstest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

// within bounds waits for what must come; silence bounds waits for what must not.
const (
	within  = machine.Patience
	silence = 200 * time.Millisecond
)

// bus is what a single server and a cluster have in common.
type bus interface {
	Connect(t testing.TB, user string, opts ...nats.Option) *nats.Conn
}

func TestIntegrityWithoutTrustShippedPermissionsOnOneServer(t *testing.T) {
	testPermissions(t, natstest.Start(t, "cars", "jobs"), 1)
}

func TestIntegrityWithoutTrustShippedPermissionsOnThreeNodes(t *testing.T) {
	testPermissions(t, natstest.StartCluster(t, "cars", "jobs"), natstest.Nodes)
}

func testPermissions(t *testing.T, b bus, replicas int) {
	p := &permissionTest{b: b, replicas: replicas}
	p.feed, p.feedErrors = p.connect(t, natstest.AuthFeed)
	p.reply, p.replyErrors = p.connect(t, natstest.AuthReply)
	p.cars, p.carsErrors = p.connect(t, "cars")
	p.jobs, _ = p.connect(t, "jobs")
	p.createStream(t, replicas)

	t.Run("live events reach every service", p.liveReachesServices)
	t.Run("the stream stores what authsvc publishes and a service reads it", p.streamIsReadByServices)
	t.Run("questions are answered", p.questionsAreAnswered)
	t.Run("a service can't publish", p.serviceCannotPublish)
	t.Run("a service can't listen to others", p.serviceCannotListen)
	t.Run("a service can't reach the stream's administration", p.serviceCannotAdminister)
	t.Run("a service can't answer another's question", p.serviceCannotAnswer)
	t.Run("authsvc can't be made to write into the stream", p.replySubjectStoresNothing)
	t.Run("replayed old messages stay in their own account", p.replayStaysAtHome)
	t.Run("the answering connection publishes answers only", p.replyPublishesNothingElse)
	t.Run("a missing responder shows at once", p.noResponders)
	t.Run("a service has a bounded queue of its own", p.serviceHasAQueue)
}

type permissionTest struct {
	b                                   bus
	replicas                            int
	feed, reply, cars, jobs             *nats.Conn
	feedErrors, replyErrors, carsErrors chan error
}

// connect returns a connection and the permission errors that the server reports to it.
func (p *permissionTest) connect(t *testing.T, user string) (*nats.Conn, chan error) {
	errs := make(chan error, 64)
	return p.b.Connect(t, user, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { errs <- err })), errs
}

func (p *permissionTest) createStream(t *testing.T, replicas int) {
	js, err := jetstream.New(p.feed)
	if err != nil {
		t.Fatal(err)
	}
	config := jetstream.StreamConfig{
		Name: events.StreamName, Subjects: []string{events.StreamSubjects}, Storage: jetstream.FileStorage,
		Replicas: replicas, AllowDirect: true, DenyDelete: true, DenyPurge: true,
	}
	natstest.Insist(t, "create the stream", func(ctx context.Context) error {
		_, err := js.CreateStream(ctx, config)
		return err
	})
	config.MaxAge = time.Hour
	natstest.Insist(t, "update the stream", func(ctx context.Context) error {
		_, err := js.UpdateStream(ctx, config)
		return err
	})
}

// stored publishes into the stream as authsvc does and returns the stream's sequence.
func (p *permissionTest) stored(t *testing.T, body string) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	js, err := jetstream.New(p.feed)
	if err != nil {
		t.Fatal(err)
	}
	for {
		ack, err := js.Publish(ctx, events.FeedSubject(events.TypeTokenRevoked), []byte(body))
		if err == nil {
			return ack.Sequence
		}
		if !errors.Is(err, jetstream.ErrNoStreamResponse) { // that one means that it was surely not stored
			t.Fatalf("publish into the stream: %v", err)
		}
	}
}

func (p *permissionTest) lastSeq(t *testing.T) uint64 {
	t.Helper()
	return p.stored(t, "mark")
}

func subscribe(t *testing.T, nc *nats.Conn, subject string) *nats.Subscription {
	t.Helper()
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sub.Unsubscribe() })
	flush(t, nc)
	return sub
}

func flush(t *testing.T, nc *nats.Conn) {
	t.Helper()
	if err := nc.FlushTimeout(within); err != nil {
		t.Fatal(err)
	}
}

// publishUntil publishes until the message arrives: between nodes, a subscription takes a moment to spread.
func (p *permissionTest) publishUntil(t *testing.T, subject, body string, sub *nats.Subscription) {
	t.Helper()
	for deadline := time.Now().Add(within); time.Now().Before(deadline); {
		if err := p.feed.Publish(subject, []byte(body)); err != nil {
			t.Fatal(err)
		}
		if m, err := sub.NextMsg(silence); err == nil && string(m.Data) == body {
			return
		}
	}
	t.Fatalf("%s never arrived", subject)
}

func (p *permissionTest) liveReachesServices(t *testing.T) {
	cars, jobs := subscribe(t, p.cars, events.LiveSubjects), subscribe(t, p.jobs, events.LiveSubjects)
	subject := events.LiveSubject(events.TypeTokenRevoked)
	p.publishUntil(t, subject, "to cars", cars)
	p.publishUntil(t, subject, "to jobs", jobs)

	nudge := subscribe(t, p.feed, events.SubjectNudge)
	p.publishUntil(t, events.SubjectNudge, "nudge", nudge)
}

func (p *permissionTest) streamIsReadByServices(t *testing.T) {
	first := p.stored(t, "one")
	p.stored(t, "two")
	bodies := p.directGet(t, first, 2)
	if fmt.Sprint(bodies) != "[one two]" {
		t.Errorf("Direct Get gave %q", bodies)
	}
}

// directGet reads as verifiers do: through the mapped subject, in a batch. A replica may lag, so it asks again.
func (p *permissionTest) directGet(t *testing.T, first uint64, count int) (bodies []string) {
	t.Helper()
	for deadline := time.Now().Add(within); time.Now().Before(deadline); {
		bodies = nil
		inbox := p.cars.NewRespInbox()
		sub := subscribe(t, p.cars, inbox)
		request := fmt.Sprintf(`{"seq":%d,"batch":%d,"max_bytes":1048576,"next_by_subj":%q}`, first, count, events.StreamSubjects)
		if err := p.cars.PublishRequest(events.SubjectStreamGet, inbox, []byte(request)); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := sub.NextMsg(5 * time.Second) // a last message without a body ends it
			if err != nil || m.Header.Get("Status") != "" {
				break
			}
			bodies = append(bodies, string(m.Data))
		}
		if len(bodies) == count {
			return bodies
		}
	}
	return bodies
}

var questions = map[string]func(string) string{
	"proof": events.ProofSubject, "check": events.CheckSubject, "resolve": events.ResolveSubject,
	"snapshot": events.SnapshotSubject, "keys": events.KeysSubject, "quota": events.QuotaSubject, "used": events.UsedSubject,
}

// answerAll lets authsvc answer every question with its subject.
func (p *permissionTest) answerAll(t *testing.T) {
	t.Helper()
	for name, subject := range questions {
		handler := func(m *nats.Msg) { m.Respond([]byte(m.Subject)) }
		var sub *nats.Subscription
		var err error
		if name == "proof" { // every replica hears every proof question
			sub, err = p.reply.Subscribe(subject("*"), handler)
		} else {
			sub, err = p.reply.QueueSubscribe(subject("*"), events.QueueGroup, handler)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { sub.Unsubscribe() })
	}
	flush(t, p.reply)
}

func (p *permissionTest) questionsAreAnswered(t *testing.T) {
	p.answerAll(t)
	for name, subject := range questions {
		for user, nc := range map[string]*nats.Conn{"cars": p.cars, "jobs": p.jobs} {
			m := request(t, nc, subject(user))
			if string(m.Data) != subject(user) {
				t.Errorf("%s of %s was answered with %q", name, user, m.Data)
			}
		}
	}
}

// request asks until interest has spread to the node that is asked.
func request(t *testing.T, nc *nats.Conn, subject string) *nats.Msg {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		m, err := nc.Request(subject, []byte("?"), within)
		if err == nil {
			return m
		}
		if !errors.Is(err, nats.ErrNoResponders) || time.Now().After(deadline) {
			t.Fatalf("request %s: %v", subject, err)
		}
	}
}

// refused expects the server to report a violation that names the subject.
func refused(t *testing.T, errs <-chan error, subject string) {
	t.Helper()
	select {
	case err := <-errs:
		if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+subject+`"`) {
			t.Errorf("%s: %v", subject, err)
		}
	case <-time.After(within):
		t.Errorf("%s was not refused", subject)
	}
}

func (p *permissionTest) serviceCannotPublish(t *testing.T) {
	for _, subject := range []string{
		events.LiveSubject(events.TypeTokenRevoked), events.FeedSubject(events.TypeTokenRevoked), events.SubjectNudge,
		events.ProofSubject("jobs"), events.CheckSubject("jobs"), events.ResolveSubject("jobs"),
		events.SnapshotSubject("jobs"), events.KeysSubject("jobs"), events.QuotaSubject("jobs"), events.UsedSubject("jobs"), events.SubjectDirectGet, "_INBOX_jobs.x",
		"_INBOX_auth_feed.x", "$SRV.PING", "$SYS.REQ.SERVER.PING",
	} {
		if err := p.cars.Publish(subject, []byte("forged")); err != nil {
			t.Fatal(err)
		}
		refused(t, p.carsErrors, subject)
	}
}

func (p *permissionTest) serviceCannotListen(t *testing.T) {
	for _, subject := range []string{
		">", "*.>", "tocsin.>", "tocsin.v1.check.cars", "tocsin.v1.check.*", "tocsin.v1.proof.*", "tocsin.v1.proof.cars",
		"tocsin.v1.resolve.cars", "tocsin.v1.feed.>", events.SubjectNudge, "_INBOX.>", "_INBOX_jobs.>", "_INBOX_auth_feed.>",
		"$JS.API.>", "$SYS.>", "$SRV.>", "_R_.>",
	} {
		sub, err := p.cars.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, p.carsErrors, subject)
		sub.Unsubscribe()
	}
	for _, subject := range []string{"tocsin.v1.check.cars", "tocsin.v1.proof.*"} {
		sub, err := p.cars.QueueSubscribeSync(subject, events.QueueGroup)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, p.carsErrors, subject)
		sub.Unsubscribe()
	}
}

func (p *permissionTest) serviceCannotAdminister(t *testing.T) {
	for _, subject := range []string{
		"$JS.API.STREAM.PURGE.TOCSIN", "$JS.API.STREAM.DELETE.TOCSIN", "$JS.API.STREAM.UPDATE.TOCSIN",
		"$JS.API.STREAM.INFO.TOCSIN", "$JS.API.STREAM.MSG.DELETE.TOCSIN", "$JS.API.CONSUMER.CREATE.TOCSIN",
		"$JS.API.CONSUMER.CREATE.TOCSIN.x.tocsin.v1.feed.a", "$JS.API.STREAM.CREATE.OTHER", "$JS.API.INFO",
	} {
		if err := p.cars.PublishRequest(subject, p.cars.NewRespInbox(), []byte("{}")); err != nil {
			t.Fatal(err)
		}
		refused(t, p.carsErrors, subject)
	}
	for _, subject := range []string{
		"$JS.API.STREAM.PURGE.TOCSIN", "$JS.API.STREAM.DELETE.TOCSIN", "$JS.API.CONSUMER.CREATE.TOCSIN",
	} { // authsvc doesn't need it, so a stolen feed key can't do it either
		if err := p.feed.PublishRequest(subject, p.feed.NewRespInbox(), []byte("{}")); err != nil {
			t.Fatal(err)
		}
		refused(t, p.feedErrors, subject)
	}
}

func (p *permissionTest) serviceCannotAnswer(t *testing.T) {
	p.answerAll(t)
	sub, err := p.cars.QueueSubscribeSync(events.CheckSubject("jobs"), events.QueueGroup)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, p.carsErrors, events.CheckSubject("jobs"))
	m := request(t, p.jobs, events.CheckSubject("jobs"))
	if string(m.Data) != events.CheckSubject("jobs") {
		t.Errorf("answered with %q", m.Data)
	}
	sub.Unsubscribe()
}

func (p *permissionTest) replySubjectStoresNothing(t *testing.T) {
	p.answerAll(t)
	request(t, p.cars, events.CheckSubject("cars"))
	before := p.lastSeq(t)
	for _, subject := range []string{
		events.SubjectStreamGet, events.ProofSubject("cars"), events.CheckSubject("cars"), events.KeysSubject("cars"),
	} {
		body := `{"seq":1,"batch":4,"max_bytes":65536,"next_by_subj":"tocsin.v1.feed.>"}`
		if err := p.cars.PublishRequest(subject, "tocsin.v1.feed.x", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, p.cars)
	request(t, p.cars, events.CheckSubject("cars")) // behind the forged ones on the same way
	if after := p.lastSeq(t); after != before+1 {
		t.Errorf("the stream went from %d to %d, want one message more", before, after)
	}
	drainErrors(p.carsErrors)
	drainErrors(p.replyErrors)
}

func (p *permissionTest) replayStaysAtHome(t *testing.T) {
	first := p.stored(t, "old")
	jobs := subscribe(t, p.jobs, events.LiveSubjects)
	p.publishUntil(t, events.LiveSubject(events.TypeKeysChanged), "settled", jobs)
	if err := p.feed.Publish(events.LiveSubject(events.TypeKeysChanged), []byte("the last")); err != nil {
		t.Fatal(err)
	}
	for said := ""; said != "the last"; { // behind what publishUntil sent more than once
		m, err := jobs.NextMsg(within)
		if err != nil {
			t.Fatal(err)
		}
		said = string(m.Data)
	}
	body := fmt.Sprintf(`{"seq":%d,"batch":1,"max_bytes":65536,"next_by_subj":"tocsin.v1.feed.>"}`, first)
	if err := p.cars.PublishRequest(events.SubjectStreamGet, "tocsin.v1.live.x", []byte(body)); err != nil {
		t.Fatal(err)
	}
	flush(t, p.cars)
	if m, err := jobs.NextMsg(silence); err == nil {
		t.Errorf("jobs got %q on %s", m.Data, m.Subject)
	}
	drainErrors(p.carsErrors)
}

func (p *permissionTest) replyPublishesNothingElse(t *testing.T) {
	drainErrors(p.replyErrors)
	for _, subject := range []string{
		events.LiveSubject(events.TypeTokenRevoked), events.FeedSubject(events.TypeTokenRevoked), events.SubjectNudge,
		"_INBOX_cars.x", "$JS.API.STREAM.INFO.TOCSIN",
	} {
		if err := p.reply.Publish(subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
		refused(t, p.replyErrors, subject)
	}
	twice := make(chan string, 1)
	sub, err := p.reply.QueueSubscribe("tocsin.v1.check.*", events.QueueGroup, func(m *nats.Msg) {
		m.Respond([]byte("first"))
		m.Respond([]byte("second"))
		twice <- m.Reply
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sub.Unsubscribe() })
	flush(t, p.reply)
	if m := request(t, p.cars, events.CheckSubject("cars")); string(m.Data) != "first" {
		t.Errorf("answered with %q", m.Data)
	}
	refused(t, p.replyErrors, <-twice)

	// Outside the queue group it would see all questions; the rest isn't its business.
	for _, subject := range []string{"tocsin.v1.check.*", events.LiveSubjects, events.StreamSubjects, "$SRV.>", "$JS.API.>"} {
		other, err := p.reply.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, p.replyErrors, subject)
		other.Unsubscribe()
	}
}

func (p *permissionTest) noResponders(t *testing.T) {
	deadline := time.Now().Add(within)
	for time.Now().Before(deadline) { // subscriptions of earlier tests may still be spreading
		_, err := p.cars.Request(events.ResolveSubject("cars"), nil, time.Second)
		if errors.Is(err, nats.ErrNoResponders) {
			return
		}
	}
	t.Error("no 'no responders' for a question that nobody listens to")
}

func drainErrors(errs <-chan error) {
	for {
		select {
		case <-errs:
		default:
			return
		}
	}
}

func TestIntegrityWithoutTrustUnansweredQuestionsAreForgottenWithinSeconds(t *testing.T) {
	s := natstest.Start(t, "cars")
	reply, cars := s.Connect(t, natstest.AuthReply), s.Connect(t, "cars")
	if _, err := reply.Subscribe(events.ProofSubject("*"), func(*nats.Msg) {}); err != nil { // which answers nothing
		t.Fatal(err)
	}
	if _, err := cars.SubscribeSync("_INBOX_cars.>"); err != nil {
		t.Fatal(err)
	}
	flush(t, reply)
	flush(t, cars)
	const questions, byItself = 100, 2 * time.Minute // how long NATS remembers them by itself
	var asked time.Time
	machine.Await(t, "a hundred unanswered questions", func() bool { // a slow machine may have forgotten the first ones before the last
		machine.Await(t, "a server that remembers none", func() bool { return s.Unanswered(t) == 0 })
		asked = time.Now()
		for i := range questions {
			if err := cars.PublishRequest(events.ProofSubject("cars"), fmt.Sprintf("_INBOX_cars.%d", i), []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, cars)
		return s.Unanswered(t) == questions
	})
	beat := machine.Listen()
	machine.Await(t, "a server that has forgotten them", func() bool { return s.Unanswered(t) == 0 })
	if took, stood := time.Since(asked), beat.Stop(); took > byItself/4+stood {
		t.Errorf("they were remembered for %v", took)
	}
}
