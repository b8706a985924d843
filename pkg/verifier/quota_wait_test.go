package verifier

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
)

// ledger is an authsvc that shares a limit out as the real one does, to one instance, and takes its time.
type ledger struct {
	limit  int64
	takes  time.Duration
	checks time.Duration

	mu      sync.Mutex
	frozen  bool
	spent   map[string]int64
	taken   int
	checked int
}

// newLedgerRig has the time of a bubble.
func newLedgerRig(t *testing.T, l *ledger) *rig {
	t.Helper()
	r := newRig(t)
	r.Verifier.clock = bubbleClock{}
	r.Verifier.base.bound = time.Hour
	now := bubbleClock{}.Now()
	r.link.proof.Store(&follower.Freshness{Since: now, Now: now.Micros()})
	l.spent = map[string]int64{}
	r.link.mu.Lock()
	defer r.link.mu.Unlock()
	r.link.answer = l.answer
	return r
}

func (l *ledger) freeze(frozen bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = frozen
}

func (l *ledger) answer(ctx context.Context, kind events.Kind, body []byte) ([]byte, error) {
	l.mu.Lock()
	takes := l.takes
	if kind == events.KindCheck {
		takes = l.checks
	}
	if l.frozen {
		takes = time.Hour
	}
	l.mu.Unlock()
	select {
	case <-time.After(takes): // the bubble's time
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if kind == events.KindCheck {
		l.checked++
		return active(body)
	}
	return l.settle(body)
}

func active(body []byte) ([]byte, error) {
	q, err := events.DecodeCheckRequest(body)
	if err != nil {
		return nil, err
	}
	return json.Marshal(events.CheckAnswer{Nonce: q.Nonce, Request: events.HashOf(body), Active: true,
		User: &events.UserInfo{ID: q.Subject, Roles: []string{"user"}}, Now: bubbleClock{}.Now().Micros()})
}

func (l *ledger) settle(body []byte) ([]byte, error) {
	q, err := events.DecodeQuotaRequest(body)
	if err != nil {
		return nil, err
	}
	a := events.QuotaAnswer{Nonce: q.Nonce, Request: events.HashOf(body), Now: 1}
	for _, e := range q.Entries {
		g := events.QuotaGrant{Term: 1, EndsIn: time.Hour.Microseconds()}
		spent := max(e.Spent, l.spent[e.Subject])
		if e.Take && spent < l.limit {
			g.Taken = true
			l.taken++
			spent++
		}
		l.spent[e.Subject] = spent
		left := l.limit - spent
		g.Allowed = spent + min(e.Want, max(left/2, min(left, 1)))
		g.Limits = []events.QuotaLimit{{Limit: l.limit, Window: 3600, Left: left, EndsIn: g.EndsIn}}
		a.Grants = append(a.Grants, g)
	}
	return json.Marshal(a)
}

func bubbleToken(user int) Credential {
	return Bearer(mint(claims{
		"sub": fmt.Sprintf("01980000-0000-7000-8000-%012x", user), "jti": fmt.Sprintf("01980000-0000-7000-9000-%012x", user),
		"iat": time.Now().Unix(), "exp": time.Now().Add(15 * time.Minute).Unix(),
	}))
}

// verifyAll has requests verified at once, and returns how many had each outcome.
func (r *rig) verifyAll(route *Route, credentials ...Credential) map[Code]int {
	codes := map[Code]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, c := range credentials {
		all.Go(func() {
			_, err := r.Verify(r.t.Context(), c, route)
			mu.Lock()
			defer mu.Unlock()
			codes[CodeOf(err)]++
		})
	}
	all.Wait()
	return codes
}

func TestAnExactQuotaIsNotTakenByRequestsThatWereRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{limit: 200, takes: 5 * time.Millisecond, frozen: true}
		r := newLedgerRig(t, l)
		route := r.route(QuotaExact("jobs"))
		var many []Credential
		for range 300 {
			many = append(many, bubbleToken(1))
		}
		if codes := r.verifyAll(route, many...); codes[CodeAuthUnavailable] != 300 {
			t.Errorf("%v", codes)
		}
		l.freeze(false)
		time.Sleep(quotaTimeout) // the bubble's time: what was on its way is lost
		if codes := r.verifyAll(route, many[0]); codes[""] != 1 || l.taken > 2 {
			t.Errorf("%v, %d taken", codes, l.taken)
		}
		_ = r.Close()
	})
}

// TestManyUsersWhoComeAtOnceAreAccepted: as they do when a window ends. One question in flight would be about 1280 of them.
func TestManyUsersWhoComeAtOnceAreAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const users = 2000
		r := newLedgerRig(t, &ledger{limit: 1, takes: 50 * time.Millisecond})
		var many []Credential
		for i := range users {
			many = append(many, bubbleToken(i+1), bubbleToken(i+1))
		}
		if codes := r.verifyAll(r.route(Quota("jobs")), many...); codes[""] != users || codes[CodeQuotaExceeded] != users {
			t.Errorf("%v", codes)
		}
		_ = r.Close()
	})
}

func TestAFrozenAuthRefusesNobodyAndIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLedgerRig(t, &ledger{limit: 1, frozen: true})
		route := r.route(Quota("jobs"))
		for round := range 5 {
			start := time.Now()
			codes := r.verifyAll(route, bubbleToken(round*3+1), bubbleToken(round*3+2), bubbleToken(round*3+3))
			if codes[""] != 3 || round > 0 && time.Since(start) > 0 {
				t.Errorf("round %d: %v after %v", round, codes, time.Since(start))
			}
			time.Sleep(5 * time.Second) // the bubble's time: nobody comes
		}
		_ = r.Close()
	})
}

// TestAQueuedRequestIsNotRefusedWhenAuthFreezes: it has waited for others' answers, and then for its own, which doesn't come.
func TestAQueuedRequestIsNotRefusedWhenAuthFreezes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{limit: 5, takes: 390 * time.Millisecond}
		r := newLedgerRig(t, l)
		var many []Credential
		for i := range 5 * events.MaxQuotaEntries {
			many = append(many, bubbleToken(i+1))
		}
		go func() {
			time.Sleep(380 * time.Millisecond)
			l.freeze(true)
		}()
		if codes := r.verifyAll(r.route(Quota("jobs")), many...); codes[""] != len(many) {
			t.Errorf("%v", codes)
		}
		_ = r.Close()
	})
}

// TestWhoWaitsForAQuotaIsCheckedOnceMore: not each time that others were quicker.
func TestWhoWaitsForAQuotaIsCheckedOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{limit: 64, takes: 2 * time.Millisecond, checks: time.Millisecond}
		r := newLedgerRig(t, l)
		var many []Credential
		for range 500 {
			many = append(many, bubbleToken(1))
		}
		codes := r.verifyAll(r.route(Quota("jobs"), Elite()), many...)
		if codes[""] != 64 || codes[CodeQuotaExceeded] != 436 || l.checked > 500+64 {
			t.Errorf("%v, %d checks", codes, l.checked)
		}
		_ = r.Close()
	})
}
