package elite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/authsvc/internal/quota"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/turns"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const quotaResource = "requests"

// limit gives the plan of the scene's user a limit of a day.
func (s *scene) limit(t testing.TB, limit int64) {
	t.Helper()
	s.clock.Early(24 * time.Hour)
	s.update(t, func(ctx context.Context, tx *store.Tx) error {
		return tx.SetPlans(ctx, []store.Plan{{Name: "free", Limits: []store.PlanLimit{{Resource: quotaResource, Limit: limit, Seconds: 86400}}}})
	})
}

var errBusy = errors.New("busy")

// spend asks for the scene's user as a service, and returns the answer after it was verified.
func (s *scene) spend(t testing.TB, nc *nats.Conn, service string, r events.QuotaRequest) (events.QuotaAnswer, error) {
	t.Helper()
	r.Nonce = events.NewNonce()
	body, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	m, err := nc.Request(events.QuotaSubject(service), body, within)
	if err != nil {
		return events.QuotaAnswer{}, err
	}
	if code := m.Header.Get(events.HeaderError); code != "" {
		return events.QuotaAnswer{}, fmt.Errorf("refused: %s", code)
	}
	if err := feedKeys().Verify(events.KindQuota, m.Header.Get(events.HeaderKey), m.Header.Get(events.HeaderSignature), m.Data); err != nil {
		return events.QuotaAnswer{}, err
	}
	a, err := events.DecodeQuotaAnswer(m.Data, len(r.Entries))
	if a.Busy {
		return a, errBusy
	}
	if err == nil && (a.Nonce != r.Nonce || a.Request != events.HashOf(body) || a.Now == 0) {
		err = fmt.Errorf("not the question's answer: %+v", a)
	}
	return a, err
}

func (s *scene) wish(want int64) []events.QuotaEntry {
	return []events.QuotaEntry{{Subject: s.user.ID, Resource: quotaResource, Want: want}}
}

func TestQuotaAnswersAreSignedForTheQuestionAndCountForTheServiceThatAsks(t *testing.T) {
	s := newScene(t, nil)
	s.limit(t, 100)
	for service, nc := range map[string]*nats.Conn{"cars": s.cars, "jobs": s.jobs} {
		a, err := s.spend(t, nc, service, events.QuotaRequest{StartNonce: events.NewNonce(), Seq: 1, Entries: s.wish(10)})
		if err != nil || a.Grants[0].Allowed != 10 {
			t.Errorf("%s: %+v, %v", service, a, err)
		}
	}
	if _, err := s.spend(t, s.cars, "cars", events.QuotaRequest{StartNonce: "x", Seq: 1, Entries: s.wish(1)}); err == nil || err.Error() != "refused: "+events.ErrorInvalid {
		t.Errorf("nonsense: %v", err)
	}
}

// Each question of many that come at once is answered, and the allowances are together no more than the limit.
func TestQuotaQuestionsThatComeAtOnceShareTheLimit(t *testing.T) {
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			s := newSceneOn(t, engine, nil)
			s.limit(t, 50)
			var asking sync.WaitGroup
			var mu sync.Mutex
			var sum int64
			for i := range 60 {
				asking.Go(func() {
					nc, service := s.cars, "cars"
					if i%2 == 0 {
						nc, service = s.jobs, "jobs"
					}
					q := events.QuotaRequest{StartNonce: events.NewNonce(), Seq: 1, Entries: s.wish(5)}
					a, err := s.spend(t, nc, service, q)
					for errors.Is(err, nats.ErrNoResponders) || errors.Is(err, errBusy) { // a machine so busy that the probe of the database fails
						q.Seq++
						a, err = s.spend(t, nc, service, q)
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					sum += a.Grants[0].Allowed
				})
			}
			asking.Wait()
			if sum != 50 {
				t.Errorf("%d were allowed of 50", sum)
			}
		})
	}
}

func TestQuotaQuestionsAreNotAnsweredWithoutTheDatabase(t *testing.T) {
	s := newScene(t, nil)
	s.limit(t, 50)
	s.store.broken.Store(true)
	until(t, "nobody answers", func() bool {
		_, err := s.spend(t, s.cars, "cars", events.QuotaRequest{StartNonce: events.NewNonce(), Seq: 1, Entries: s.wish(5)})
		return errors.Is(err, nats.ErrNoResponders)
	})
}

// slowQuotas count nothing until they are let.
type slowQuotas struct{ begun, let chan struct{} }

func (q slowQuotas) Settle(ctx context.Context, questions []quota.Question) ([]quota.Answer, error) {
	q.begun <- struct{}{}
	select {
	case <-q.let:
		return nil, store.ErrUnavailable
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// What waits is bounded by number: so nothing that is larger than a question may wait.
func TestQuestionsThatAreTooLongDoNotWait(t *testing.T) {
	slow := slowQuotas{make(chan struct{}, 10), make(chan struct{})}
	s := newScene(t, func(cfg *Config) { cfg.Quotas = slow })
	defer close(slow.let)
	body, err := json.Marshal(events.QuotaRequest{Nonce: events.NewNonce(), StartNonce: events.NewNonce(), Seq: 1, Entries: s.wish(1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cars.PublishRequest(events.QuotaSubject("cars"), s.cars.NewRespInbox(), body); err != nil {
		t.Fatal(err)
	}
	<-slow.begun // as much as runs of one service at once
	m, err := s.cars.Request(events.QuotaSubject("cars"), make([]byte, events.MaxRequest+1), within)
	if err != nil || m.Header.Get(events.HeaderError) != events.ErrorInvalid {
		t.Errorf("%v, %v", m, err)
	}
	if o := <-s.outcomes; o != Refused {
		t.Errorf("it was %s before what came first", o)
	}
}

// putOff checks that an answer says, signed for the question, that it is busy.
func putOff(body []byte, m *nats.Msg) error {
	if err := feedKeys().Verify(events.KindQuota, m.Header.Get(events.HeaderKey), m.Header.Get(events.HeaderSignature), m.Data); err != nil {
		return fmt.Errorf("header %v: %w", m.Header, err)
	}
	a, err := events.DecodeQuotaAnswer(m.Data, 1)
	if err == nil && (!a.Busy || a.Request != events.HashOf(body)) {
		err = fmt.Errorf("%+v", a)
	}
	return err
}

func (s *scene) quotaBody(t testing.TB) []byte {
	t.Helper()
	body, err := json.Marshal(events.QuotaRequest{Nonce: events.NewNonce(), StartNonce: events.NewNonce(), Seq: 1, Entries: s.wish(1)})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// publish asks, and doesn't wait.
func (s *scene) publish(t *testing.T, nc *nats.Conn, service string) {
	t.Helper()
	if err := nc.PublishRequest(events.QuotaSubject(service), nc.NewRespInbox(), s.quotaBody(t)); err != nil {
		t.Fatal(err)
	}
}

// askBusy asks as cars, what is to be put off.
func (s *scene) askBusy(t *testing.T) error {
	body := s.quotaBody(t)
	m, err := s.cars.Request(events.QuotaSubject("cars"), body, within)
	for errors.Is(err, nats.ErrNoResponders) { // a machine so busy that the probe of the database fails
		m, err = s.cars.Request(events.QuotaSubject("cars"), body, within)
	}
	if err != nil {
		return err
	}
	return putOff(body, m)
}

// stuckQuotas are slowQuotas that nothing else ends.
type stuckQuotas slowQuotas

func (q stuckQuotas) Settle(context.Context, []quota.Question) ([]quota.Answer, error) {
	q.begun <- struct{}{}
	<-q.let
	return nil, store.ErrUnavailable
}

// flooded is a scene in which a question of cars is being counted, and doesn't end, and another waits: there is room for no more.
func flooded(t *testing.T, slow stuckQuotas) *scene {
	s := newScene(t, func(cfg *Config) {
		cfg.Quotas, cfg.quotaShares = slow, turns.Shares{Workers: 2, Running: 1, Queued: 1, Total: 10, Batch: 1}
	})
	s.publish(t, s.cars, "cars")
	<-slow.begun
	s.publish(t, s.cars, "cars")
	return s
}

func TestWhoFloodsIsToldThatItIsBusySignedForTheQuestion(t *testing.T) {
	slow := stuckQuotas{make(chan struct{}, 10), make(chan struct{})}
	s := flooded(t, slow)
	defer close(slow.let)
	for range 20 {
		if err := s.askBusy(t); err != nil {
			t.Fatal(err)
		}
		if o := <-s.outcomes; o != Busy {
			t.Errorf("outcome %s", o)
		}
	}
	s.publish(t, s.jobs, "jobs")
	<-slow.begun // the others have their share
}

// Who has waited for so long that the asker may take it for an authsvc that is away is told that it isn't, and isn't counted.
func TestWhoHasWaitedTooLongToBeCountedIsToldThatItIsBusy(t *testing.T) {
	slow := slowQuotas{make(chan struct{}, 10), make(chan struct{})}
	s := newScene(t, func(cfg *Config) { cfg.Quotas, cfg.quotaPatience = slow, 1 })
	defer close(slow.let)
	if err := s.askBusy(t); err != nil || len(slow.begun) > 0 {
		t.Errorf("%v; %d counted", err, len(slow.begun))
	}
}
