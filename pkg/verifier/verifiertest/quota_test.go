package verifiertest_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiertest"
)

func TestAUserSpendsTheQuotaWithAllCredentials(t *testing.T) {
	w := newWorld(t)
	token := w.Token(verifier.Principal{})
	key := w.Key(verifier.Principal{Subject: token.Subject})
	other := w.Token(verifier.Principal{})
	w.Limit(token.Subject, "jobs", 4)
	metered := verifier.Quota("jobs")
	for _, c := range []verifiertest.Caller{token, key, token, key} {
		w.ask("", c, metered)
	}
	w.ask(verifier.CodeQuotaExceeded, token, metered)
	w.ask(verifier.CodeQuotaExceeded, key, metered)
	w.ask(verifier.CodeQuotaExceeded, key, metered, verifier.Elite())
	w.ask(verifier.CodeQuotaExceeded, key, verifier.QuotaExact("jobs"))
	w.ask("", token)
	w.ask("", token, verifier.Quota("cars"))
	w.ask("", other, metered)
	w.Advance(verifiertest.QuotaWindow)
	w.ask("", token, metered)
}

func TestWhatIsRefusedForAnotherReasonSpendsNothing(t *testing.T) {
	w := newWorld(t)
	token := w.Token(verifier.Principal{})
	dead := w.Token(verifier.Principal{Subject: token.Subject})
	short := w.Token(verifier.Principal{Subject: token.Subject, Expires: w.Now().Add(time.Second)})
	w.Limit(token.Subject, "jobs", 1)
	metered := verifier.Quota("jobs")
	w.Revoke(dead)
	w.Advance(40 * time.Second)
	for range 3 {
		w.ask(verifier.CodeRevoked, dead, metered)
		w.ask(verifier.CodeExpired, short, metered)
		w.ask(verifier.CodeForbidden, token, metered, verifier.Role("admin"))
		w.ask(verifier.CodeForbidden, token, verifier.QuotaExact("jobs"), verifier.Role("admin"))
		w.ask(verifier.CodeForbidden, token, metered, verifier.Elite(), verifier.Role("admin"))
	}
	w.ask("", token, metered)
	w.ask(verifier.CodeQuotaExceeded, token, metered)
	w.ask(verifier.CodeRevoked, dead, metered)
}

func TestExhaustHoldsWhenItReturns(t *testing.T) {
	w := newWorld(t)
	token := w.Token(verifier.Principal{})
	w.Limit(token.Subject, "jobs", 1000)
	for range 10 {
		w.ask("", token, verifier.Quota("jobs"))
	}
	w.Exhaust(token.Subject, "jobs")
	w.ask(verifier.CodeQuotaExceeded, token, verifier.Quota("jobs"))
	w.Limit(token.Subject, "jobs", 1001)
	w.ask("", token, verifier.Quota("jobs"))
	w.ask(verifier.CodeQuotaExceeded, token, verifier.Quota("jobs"))
}

func TestAQuotaIsSpentExactlyByManyAtOnce(t *testing.T) {
	for name, opt := range map[string]verifier.RouteOption{"allowed": verifier.Quota("jobs"), "exact": verifier.QuotaExact("jobs")} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			token := w.Token(verifier.Principal{})
			w.Limit(token.Subject, "jobs", 100)
			route, err := w.Verifier.Route(opt)
			if err != nil {
				t.Fatal(err)
			}
			var accepted atomic.Int64
			var all sync.WaitGroup
			for range 16 {
				all.Go(func() {
					for range 20 {
						if _, err := w.Verifier.Verify(context.Background(), token.Credential(), route); err == nil {
							accepted.Add(1)
						} else if verifier.CodeOf(err) != verifier.CodeQuotaExceeded {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			if n := accepted.Load(); n != 100 {
				t.Errorf("%d of 100 accepted", n)
			}
		})
	}
}

func TestWithoutAuthRequestsPassUncountedUnlessTheRouteIsStrict(t *testing.T) {
	w := newWorld(t)
	spent, fresh := w.Token(verifier.Principal{}), w.Token(verifier.Principal{})
	w.Limit(spent.Subject, "jobs", 1)
	w.Limit(fresh.Subject, "jobs", 3)
	metered := verifier.Quota("jobs")
	w.ask("", spent, metered)
	w.ask(verifier.CodeQuotaExceeded, spent, metered)
	w.StopAuth()
	w.ask(verifier.CodeQuotaExceeded, spent, metered) // it was told
	w.ask(verifier.CodeAuthUnavailable, fresh, metered, verifier.QuotaStrict())
	w.ask(verifier.CodeAuthUnavailable, fresh, verifier.QuotaExact("jobs"))
	for range 2 {
		w.ask("", fresh, metered)
	}
	if n := w.Verifier.Stats().QuotaUncounted; n != 2 {
		t.Errorf("%d passed uncounted", n)
	}
	w.StartAuth()
	for w.Verifier.Stats().QuotaAway {
		time.Sleep(time.Millisecond) // the verifier asks again once a second, in real time
	}
	w.ask("", fresh, metered)
	w.ask(verifier.CodeQuotaExceeded, fresh, metered)
}

func TestALongAnswerSpendsOnce(t *testing.T) {
	w := newWorld(t)
	token := w.Token(verifier.Principal{})
	w.Limit(token.Subject, "jobs", 1)
	h := w.Verifier.Require(verifier.LongAnswer(), verifier.Quota("jobs"))(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		for range 5 {
			if _, err := rw.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			w.SetPlan(token.Subject, "pro") // all are judged again
		}
	}))
	if got := status(h, token, "GET", "/"); got != http.StatusOK {
		t.Error(got)
	}
	if got := status(h, token, "GET", "/"); got != http.StatusTooManyRequests {
		t.Error(got)
	}
}

func TestCallersAreToldOfTheirLimits(t *testing.T) {
	w := newWorld(t)
	token, free := w.Token(verifier.Principal{}), w.Token(verifier.Principal{})
	w.Limit(token.Subject, "jobs", 2)
	for name, opts := range map[string][]verifier.RouteOption{
		"allowed": {verifier.Quota("jobs")}, "long": {verifier.Quota("jobs"), verifier.LongAnswer()}, "exact": {verifier.QuotaExact("jobs")},
	} {
		w.Advance(verifiertest.QuotaWindow)
		h := w.Verifier.Require(opts...)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		for i, want := range []struct {
			code                 int
			limit, policy, retry string
		}{
			{200, `"jobs-60";r=1;t=55`, `"jobs-60";q=2;w=60`, ""},
			{200, `"jobs-60";r=0;t=55`, `"jobs-60";q=2;w=60`, ""},
			{429, `"jobs-60";r=0;t=55`, `"jobs-60";q=2;w=60`, "55"},
		} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", token.Authorization())
			rw := httptest.NewRecorder()
			h.ServeHTTP(rw, r)
			got := rw.Result().Header
			if rw.Code != want.code || got.Get("RateLimit") != want.limit || got.Get("RateLimit-Policy") != want.policy || got.Get("Retry-After") != want.retry {
				t.Errorf("%s, request %d: %d %v", name, i, rw.Code, got)
			}
		}
		rw := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", free.Authorization())
		if h.ServeHTTP(rw, r); rw.Code != 200 || len(rw.Result().Header) != 0 {
			t.Errorf("%s, without a limit: %d %v", name, rw.Code, rw.Result().Header)
		}
	}
}
