package linktest

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/test/faults"
	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

func TestAVerifierBehindALeafNodeIsProvenAndCatchesUp(t *testing.T) {
	hub, leaves := natstest.StartHub(t, service)
	a := newAuthority(t, connect(t, hub, natstest.AuthFeed), connect(t, hub, natstest.AuthReply), 1)
	first, last := a.revoke(3000)
	a.store(first, last, 1)
	leaf := natstest.StartLeaf(t, hub, leaves, service, false)
	a.liveIsEnough(a.readsTheStream(last, func() *verifier.Verifier { return start(t, leaf.URL(), hub.SeedFile(service)) }))
}

func TestALeafNodeTakesEachEventOnce(t *testing.T) {
	hub, leaves := natstest.StartHub(t, service)
	a := newAuthority(t, connect(t, hub, natstest.AuthFeed), connect(t, hub, natstest.AuthReply), 1)
	leaf := natstest.StartLeaf(t, hub, leaves, service, false)
	const verifiers, messages = 10, 500
	var all []*verifier.Verifier
	for range verifiers {
		all = append(all, start(t, leaf.URL(), hub.SeedFile(service)))
	}
	for _, v := range all {
		await(t, v, 0)
	}
	before, answered := hub.ToLeaves(t), a.timesAll()
	last := uint64(0)
	for range messages {
		var first uint64
		first, last = a.revoke(1)
		a.tell(first, last)
	}
	for _, v := range all {
		await(t, v, last)
	}
	n, answers := hub.ToLeaves(t)-before, int64(a.timesAll()-answered)
	const underWay = verifiers // answers at the beginning and the end that one count has and the other hasn't
	if n < messages || n > messages+answers+underWay {
		t.Errorf("%d messages went to the leaf node for %d events and %d verifiers, with %d answers", n, messages, verifiers, answers)
	}
}

func TestBehindALeafNodeThatIsCutOffNothingIsFreshForLongerThanB(t *testing.T) {
	hub, leaves := natstest.StartHub(t, service)
	a := newAuthority(t, connect(t, hub, natstest.AuthFeed), connect(t, hub, natstest.AuthReply), 1)
	way := faults.StartProxy(t, leaves)
	leaf := natstest.StartLeaf(t, hub, way.Addr(), service, false)
	v := start(t, leaf.URL(), hub.SeedFile(service), verifier.WithMaxStaleness(time.Second))
	await(t, v, 0)

	way.Hold(true, true)
	first, last := a.revoke(1)
	a.tell(first, last) // which nobody behind the leaf node hears
	machine.Await(t, "the end of freshness", func() bool { return v.Ready() != nil })
	if s := v.Stats(); s.Applied >= last || !s.Connected {
		t.Errorf("it was to be cut off behind its leaf node: %+v", s)
	}
	way.Cut() // what a network that has lost the connection's state does with it
	way.Hold(false, false)
	await(t, v, last)
}

func TestIntegrityWithoutTrustALeafNodeHasTheRightsOfItsServiceAndNoOthers(t *testing.T) {
	hub, leaves := natstest.StartHub(t, service, "jobs")
	feed, jobs := connect(t, hub, natstest.AuthFeed), connect(t, hub, "jobs")
	a := newAuthority(t, feed, connect(t, hub, natstest.AuthReply), 1)
	leaf := natstest.StartLeaf(t, hub, leaves, service, true)
	heard := make(chan *nats.Msg, 64)
	for subject, nc := range map[string]*nats.Conn{events.LiveSubjects: jobs, events.SubjectNudge: feed} {
		if _, err := nc.ChanSubscribe(subject, heard); err != nil {
			t.Fatal(err)
		}
		flush(t, nc)
	}
	// Whoever has taken the leaf node over publishes what he likes there. The authority fails the test when it is asked what
	// isn't a question.
	thief := leaf.Connect(t, hub, service)
	inbox, err := thief.SubscribeSync("_INBOX_jobs.>")
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{events.LiveSubject(events.TypeTokenRevoked), events.FeedSubject(events.TypeTokenRevoked), events.SubjectNudge,
		events.ProofSubject("jobs"), "$JS.API.STREAM.PURGE.TOCSIN", "$JS.API.CONSUMER.CREATE.TOCSIN"} {
		if err := thief.PublishRequest(subject, "_INBOX_"+service+".x", []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, thief)

	// What follows on the same way shows that all of it has arrived.
	first, last := a.revoke(2)
	a.store(first, last, 1)
	v := start(t, leaf.URL(), hub.SeedFile(service))
	if stats := await(t, v, last); stats.BadMessages != 0 {
		t.Errorf("%+v", stats)
	}
	select {
	case m := <-heard:
		t.Errorf("%s was heard: %q", m.Subject, m.Data)
	default:
	}
	if m, err := inbox.NextMsg(100 * time.Millisecond); err == nil {
		t.Errorf("another service's answer was read: %q", m.Data)
	}
	js, err := jetstream.New(feed)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), events.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 2 {
		t.Errorf("the stream has %d messages, want 2", n)
	}
}
