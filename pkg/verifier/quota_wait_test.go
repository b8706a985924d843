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
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
)

// ledger is an authsvc that shares a limit out as the real one does, to one instance, and takes its time.
type ledger struct {
	limit  int64
	takes  time.Duration
	checks time.Duration

	mu      sync.Mutex
	frozen  bool
	busy    bool
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

func (l *ledger) setBusy(busy bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = busy
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
	if l.busy {
		return json.Marshal(events.QuotaAnswer{Request: events.HashOf(body), Busy: true})
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
			time.Sleep(380 * time.Millisecond) // the bubble's time
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

// TestABusyAuthLetsNobodyThrough: though the route isn't strict. Who is refused may come again in a second.
func TestABusyAuthLetsNobodyThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{limit: 10, takes: time.Millisecond, busy: true}
		r := newLedgerRig(t, l)
		var many []Credential
		for i := range 5 * events.MaxQuotaEntries {
			many = append(many, bubbleToken(i+1))
		}
		for name, route := range map[string]*Route{"allowed": r.route(Quota("jobs")), "exact": r.route(QuotaExact("jobs"))} {
			for range 5 {
				start := time.Now()
				if codes := r.verifyAll(route, many...); codes[CodeAuthUnavailable] != len(many) {
					t.Errorf("%s: %v", name, codes)
				}
				if waited := time.Since(start); waited > quotaTimeout {
					t.Errorf("%s: waited for %v", name, waited)
				}
			}
			_, err := r.Verify(t.Context(), many[0], route)
			if RetryAfter(err) != time.Second {
				t.Errorf("%s: %v, retry after %v", name, err, RetryAfter(err))
			}
		}
		if s := r.Stats(); s.QuotaUncounted > 0 || s.QuotaAway || s.QuotaFailures > 0 || s.QuotaBusy == 0 {
			t.Errorf("%+v", s)
		}
		l.setBusy(false)
		time.Sleep(2 * time.Second) // the bubble's time
		if codes := r.verifyAll(r.route(Quota("jobs")), many...); codes[""] != len(many) {
			t.Errorf("%v", codes)
		}
		_ = r.Close()
	})
}

// TestAnAuthThatIsBusyForAMomentRefusesNobody: it is asked again before it is given up.
func TestAnAuthThatIsBusyForAMomentRefusesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{limit: 10, takes: time.Millisecond, busy: true}
		r := newLedgerRig(t, l)
		go func() {
			time.Sleep(200 * time.Millisecond) // the bubble's time
			l.setBusy(false)
		}()
		if codes := r.verifyAll(r.route(Quota("jobs")), bubbleToken(1), bubbleToken(2)); codes[""] != 2 {
			t.Errorf("%v", codes)
		}
		_ = r.Close()
	})
}

// TestABusyAuthIsAskedAgainAtGrowingIntervals: a fleet that asked without a rest would keep it busy.
func TestABusyAuthIsAskedAgainAtGrowingIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{limit: 10, busy: true}
		r := newLedgerRig(t, l)
		var asked []time.Time
		answer := r.link.answer
		r.link.mu.Lock()
		r.link.answer = func(ctx context.Context, kind events.Kind, body []byte) ([]byte, error) {
			asked = append(asked, time.Now())
			return answer(ctx, kind, body)
		}
		r.link.mu.Unlock()
		r.verifyAll(r.route(Quota("jobs")), bubbleToken(1))
		if n := len(asked); n < 3 || n > 6 {
			t.Errorf("asked %d times", n)
		}
		_ = r.Close()
	})
}

// TestAnAuthThatIsSilentAfterItWasBusyIsAwayFromTheNextQuestionOn: one question can't tell the two apart.
func TestAnAuthThatIsSilentAfterItWasBusyIsAwayFromTheNextQuestionOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{limit: 10, takes: time.Millisecond, busy: true}
		r := newLedgerRig(t, l)
		route := r.route(Quota("jobs"))
		go func() {
			time.Sleep(10 * time.Millisecond) // the bubble's time
			l.freeze(true)
		}()
		if codes := r.verifyAll(route, bubbleToken(1)); codes[CodeAuthUnavailable] != 1 {
			t.Errorf("%v", codes)
		}
		time.Sleep(2 * time.Second)
		if codes := r.verifyAll(route, bubbleToken(1), bubbleToken(2)); codes[""] != 2 {
			t.Errorf("%v", codes)
		}
		_ = r.Close()
	})
}

// TestAnAuthOfBeforeThatIsBusyIsAway: it doesn't sign that, and says the same when its database fails.
func TestAnAuthOfBeforeThatIsBusyIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newLedgerRig(t, &ledger{})
		r.link.mu.Lock()
		r.link.answer = func(context.Context, events.Kind, []byte) ([]byte, error) {
			return nil, fmt.Errorf("%w: refused: %q", link.ErrUnavailable, events.ErrorBusy)
		}
		r.link.mu.Unlock()
		if codes := r.verifyAll(r.route(Quota("jobs")), bubbleToken(1)); codes[""] != 1 || r.Stats().QuotaUncounted != 1 {
			t.Errorf("%v", codes)
		}
		if codes := r.verifyAll(r.route(Quota("jobs"), QuotaStrict()), bubbleToken(1)); codes[CodeAuthUnavailable] != 1 {
			t.Errorf("%v", codes)
		}
		_ = r.Close()
	})
}
