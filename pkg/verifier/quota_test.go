package verifier

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

const otherToken = "01980000-0000-7000-8000-00000000070d"

// quotas is an authsvc that allows what is wanted, up to a limit.
type quotas struct {
	limit  atomic.Int64
	before atomic.Pointer[func()] // an answer is made
	asked  atomic.Int64
}

func (r *rig) serveQuotas(limit int64) *quotas {
	q := new(quotas)
	q.do(func() {})
	q.limit.Store(limit)
	r.link.mu.Lock()
	defer r.link.mu.Unlock()
	r.link.answer = func(_ context.Context, kind events.Kind, body []byte) ([]byte, error) {
		if kind != events.KindQuota {
			return nil, errors.New("another question")
		}
		q.asked.Add(1)
		(*q.before.Load())()
		return q.answer(body)
	}
	return q
}

func (q *quotas) do(before func()) { q.before.Store(&before) }

func (q *quotas) answer(body []byte) ([]byte, error) {
	request, err := events.DecodeQuotaRequest(body)
	if err != nil {
		return nil, err
	}
	a := events.QuotaAnswer{Nonce: request.Nonce, Request: events.HashOf(body), Now: 1}
	for _, e := range request.Entries {
		g := events.QuotaGrant{Term: 1, EndsIn: time.Hour.Microseconds(), Allowed: min(e.Spent+e.Want, q.limit.Load())}
		if e.Take && e.Spent < q.limit.Load() {
			g.Taken, g.Allowed = true, e.Spent+1
		}
		a.Grants = append(a.Grants, g)
	}
	return json.Marshal(a)
}

func TestWhatIsRevokedWhileTheQuotaIsAskedForIsRefused(t *testing.T) {
	for name, opts := range map[string][]RouteOption{"allowed": {Quota("jobs")}, "exact": {QuotaExact("jobs")}} {
		r := newRig(t)
		q := r.serveQuotas(5)
		q.do(func() { r.apply(events.TokenRevoked{JTI: aliceToken}) })
		r.want(CodeRevoked, Bearer(mint(nil)), opts...)
		if n := q.asked.Load(); n == 0 {
			t.Errorf("%s: not asked", name)
		}
		q.do(func() {})
		if name == "exact" {
			continue // it was counted before
		}
		for range 5 {
			r.want("", Bearer(mint(claims{"jti": otherToken})), opts...)
		}
	}
}

func TestARequestWaitsForItsQuotaOnlyAsLongAsItsContext(t *testing.T) {
	r := newRig(t)
	q := r.serveQuotas(5)
	ctx, cancel := context.WithCancel(t.Context())
	held := make(chan struct{})
	q.do(func() { cancel(); <-held })
	_, err := r.Verify(ctx, Bearer(mint(nil)), r.route(Quota("jobs")))
	if !errors.Is(err, ErrAuthUnavailable) {
		t.Error(err)
	}
	close(held)
}

func TestAnswersThatAreNotToTheQuestionAboutQuotasCountAsNone(t *testing.T) {
	r := newRig(t)
	q := r.serveQuotas(5)
	r.link.mu.Lock()
	r.link.answer = func(_ context.Context, _ events.Kind, body []byte) ([]byte, error) {
		other := append([]byte(nil), body...)
		other = append(other, ' ') // the same question in other bytes
		return q.answer(other)
	}
	r.link.mu.Unlock()
	r.want(CodeAuthUnavailable, Bearer(mint(nil)), Quota("jobs"), QuotaStrict())
	r.want(CodeAuthUnavailable, Bearer(mint(nil)), QuotaExact("jobs"))
	if s := r.Stats(); s.QuotaFailures == 0 || !s.QuotaAway {
		t.Errorf("%+v", s)
	}
}

func TestBadQuotaOptionsAreNamed(t *testing.T) {
	r := newRig(t)
	for name, opts := range map[string][]RouteOption{
		"two":    {Quota("a"), QuotaExact("b")},
		"name":   {Quota("A b")},
		"none":   {QuotaExact("")},
		"strict": {QuotaStrict()},
	} {
		if _, err := r.Route(opts...); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCloseGivesBackWhatIsHeld(t *testing.T) {
	r := newRig(t)
	r.serveQuotas(5)
	r.want("", Bearer(mint(nil)), Quota("jobs"))
	var last atomic.Pointer[events.QuotaEntry]
	r.link.mu.Lock()
	answer := r.link.answer
	r.link.answer = func(ctx context.Context, kind events.Kind, body []byte) ([]byte, error) {
		if q, err := events.DecodeQuotaRequest(body); err == nil {
			last.Store(&q.Entries[0])
		}
		return answer(ctx, kind, body)
	}
	r.link.mu.Unlock()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if e := last.Load(); e == nil || e.Spent != 1 || e.Want != 0 || e.Term != 1 {
		t.Errorf("told at the end: %+v", e)
	}
}

func TestTestTrafficSpendsNoLiveQuota(t *testing.T) {
	for mode, opts := range map[Mode][]Option{ModeLive: nil, ModeTest: {WithAllowTest()}} {
		r := newRig(t, opts...)
		r.serveQuotas(5)
		r.link.mu.Lock()
		answer := r.link.answer
		r.link.answer = func(ctx context.Context, kind events.Kind, body []byte) ([]byte, error) {
			if q, err := events.DecodeQuotaRequest(body); err != nil || q.Test != (mode == ModeTest) {
				t.Errorf("a verifier of %s asks with test %v: %v", mode, q.Test, err)
			}
			return answer(ctx, kind, body)
		}
		r.link.mu.Unlock()
		r.want("", Bearer(mint(claims{"mode": string(mode)})), Quota("jobs"))
	}
}
