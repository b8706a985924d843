package verifier

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

func TestWaitReadyReturnsWithTheFirstProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.link.proof.Store(nil)
		done := make(chan error, 1)
		go func() { done <- r.WaitReady(t.Context()) }()
		synctest.Wait()
		r.prove()
		r.news.ring()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = r.Close()
	})
}

func TestWaitReadySaysWhatWasMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.link.proof.Store(nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := r.WaitReady(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "nothing proven") {
			t.Error(err)
		}
		go func() { _ = r.Close() }()
		if err := r.WaitReady(t.Context()); err == nil {
			t.Error("ready after Close")
		}
		_ = r.Close()
	})
}

func TestStatsTellStateAndRefusals(t *testing.T) {
	r := newRig(t)
	token := Bearer(mint(nil))
	r.want("", token)
	r.want("", token)
	r.want(CodeForbidden, token, Role("admin"))
	r.call("/", nil)
	r.clock.Advance(2 * time.Second)
	s := r.Stats()
	if s.State != events.StateFresh || s.ProofAge != 2*time.Second || s.Accepted != 2 || s.CacheHits != 2 || s.CacheMisses != 1 {
		t.Errorf("%+v", s)
	}
	if s.Refused[CodeForbidden] != 1 || s.Refused[CodeMissingCredential] != 1 || s.Refused[CodeRevoked] != 0 || s.Tokens != 1 {
		t.Errorf("%+v", s)
	}
	r.clock.Advance(time.Hour)
	if s := r.Stats(); s.State != events.StateStale {
		t.Errorf("state %s", s.State)
	}
}

func TestStatsAsJSON(t *testing.T) {
	r := newRig(t)
	r.clock.Advance(1500 * time.Microsecond)
	fields := map[string]any{}
	text, _ := json.Marshal(r.Stats())
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	if fields["state"] != "fresh" || fields["proof_age_ms"] != 1.5 || fields["max_staleness_ms"] != 30_000.0 || fields["service"] != "cars" {
		t.Errorf("%s", text)
	}
	for _, name := range []string{"epoch", "applied_seq", "head"} {
		if _, ok := fields[name]; !ok {
			t.Errorf("no %s", name)
		}
	}
	r.link.proof.Store(nil)
	text, _ = json.Marshal(r.Stats())
	if !strings.Contains(string(text), `"proof_age_ms":null`) || !strings.Contains(string(text), `"state":"starting"`) {
		t.Errorf("%s", text)
	}
}

func TestCloseTwiceIsHarmless(t *testing.T) {
	r := newRig(t)
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNewReturnsAtOnceAndRefusesUntilProven(t *testing.T) {
	cfg := goodConfig()
	cfg.Issuer, cfg.NATSURL = "http://127.0.0.1:1", "nats://127.0.0.1:1"
	v, err := New(t.Context(), cfg, WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, c := range []Credential{Bearer(mint(nil)), newKey(ModeLive)} {
		if _, err := v.Verify(t.Context(), c, nil); !errors.Is(err, ErrStale) {
			t.Error(err)
		}
		if _, err := v.Verify(t.Context(), c, mustRoute(v, Elite())); !errors.Is(err, ErrAuthUnavailable) {
			t.Error(err)
		}
	}
	if s := v.Stats(); s.State != events.StateStarting {
		t.Errorf("state %s", s.State)
	}
}

func mustRoute(v *Verifier, opts ...RouteOption) *Route {
	route, err := v.Route(opts...)
	if err != nil {
		panic(err)
	}
	return route
}
