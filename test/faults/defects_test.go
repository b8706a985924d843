package faults

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
)

// anomaly is what one defence prevents: with it nothing breaks, without it these promises do, in the same scene.
type anomaly struct {
	defence        string
	setUp          string
	auth, resource string // the switch, of one of the two
	breaks         []string
	happens        func(*scene)
}

var anomalies = []anomaly{
	{
		defence: "the event is in the transaction of the change", setUp: "single", auth: "late-event",
		breaks: []string{"BoundedAcceptance", "NothingLost"},
		happens: func(s *scene) {
			x := s.user("x")
			s.points.ask(s.t, "late", "hold") // nobody comes there who writes both at once
			s.revoke(s.Auth[0], x, "none")
			s.restart(s.Auth[0])
			s.afterB()
			s.ordinary(x)
		},
	},
	{
		// The one that numbered x is frozen; the other takes over, numbers y, and dies.
		defence: "numbering is fenced by the term", setUp: "cluster", auth: "unfenced",
		breaks: []string{"BoundedAcceptance", "NothingLost"},
		happens: func(s *scene) {
			x, y := s.user("x"), s.user("y")
			zombie, successor := s.dispatcher()
			s.points.ask(s.t, "live", "stop")
			before := s.ask().Applied
			s.revoke(successor, x, "none")
			s.points.await(s.t, "live")
			s.until(func(v said) bool { return v.Applied > before })
			s.leave()
			s.revoke(successor, y, "published")
			successor.Kill()
			zombie.Thaw()
			s.comeBack()
			s.afterB()
			s.ordinary(y)
		},
	},
	{
		defence: "an elite answer is read after the question", setUp: "single", auth: "elite-memory",
		breaks: []string{"EliteLinearizable"},
		happens: func(s *scene) {
			x := s.user("x")
			goOn := s.standStill(x) // before the resource service hears of it
			s.call(s.t.Context(), s.Resources[0], x, true)
			goOn()
		},
	},
	{
		// x is missed, and what follows it isn't.
		defence: "contiguity", setUp: "single", resource: "contiguity",
		breaks: []string{"BoundedAcceptance", "NothingLost"},
		happens: func(s *scene) {
			x, y := s.user("x"), s.user("y")
			s.leave()
			s.revoke(s.Auth[0], x, "published")
			goOn := s.standStill(y)
			s.comeBack()
			pause(s.t.Context(), 500*time.Millisecond) // until its question waits
			goOn()
			s.afterB()
			s.ordinary(x)
		},
	},
	{
		defence: "catching up after a reconnect", setUp: "single", resource: "catch-up",
		breaks: []string{"NoCollateral", "NothingLost"},
		happens: func(s *scene) {
			x := s.user("x")
			s.user("bystander")
			s.leave()
			s.revoke(s.Auth[0], x, "published")
			s.comeBack()
		},
	},
	{
		// The news stays in a black hole, so that only the clock can tell.
		defence: "clocks that are read", setUp: "single", resource: "real-clock",
		breaks: []string{"BoundedAcceptance"},
		happens: func(s *scene) {
			x := s.user("x")
			hold(s.Resources[0].bus, true, true)
			s.revoke(s.Auth[0], x, "published")
			s.freeze()
			s.ordinary(x)
			hold(s.Resources[0].bus, false, false)
		},
	},
	{
		// The database and the stream forget x, and y gets its number; the resource service remembers x.
		defence: "the chain", setUp: "single", resource: "chain",
		breaks: []string{"BoundedAcceptance", "NothingLost"},
		happens: func(s *scene) {
			y, x := s.user("y"), s.Auth[0].Register(s.t, "user-x")
			restore := s.backUp()
			before := s.ask().Applied
			s.Auth[0].Must(s.t, 200, "POST", "/v1/admin/revocations", s.admin, map[string]any{"token": x.Token})
			s.until(func(v said) bool { return v.Applied > before })
			s.leave()
			restore()
			s.revoke(s.Auth[0], y, "published")
			s.comeBack()
			s.afterB()
			s.ordinary(y)
		},
	},
	{
		// What is derived from x has an id of its own, of which no event tells.
		defence: "what a derived token rests on is judged with it", setUp: "single", resource: "parents",
		breaks: []string{"BoundedAcceptance", "NothingLost"},
		happens: func(s *scene) {
			x := s.user("x")
			d := s.derive(x)
			s.revoke(s.Auth[0], x, "none", d)
			s.afterB()
			s.ordinary(d)
		},
	},
	{
		defence: "the sum of what is handed out of a quota", setUp: "single", auth: "overdraft",
		breaks: []string{"WithinQuota"},
		happens: func(s *scene) {
			m := Meter{Resource: "strict-calls", Path: "/v1/whoami/strict", Limit: 4, Window: 744 * time.Hour, Strict: true}
			x := s.metered("x", m)
			for _, r := range s.Resources {
				s.spend(r, x, m)
			}
		},
	},
	{
		// While the dispatcher says nothing, somebody who has the credentials of the bus says that nothing has happened.
		defence: "signatures", setUp: "single", resource: "signature",
		breaks: []string{"BoundedAcceptance"},
		happens: func(s *scene) {
			x, y := s.user("x"), s.user("y")
			s.leave()
			s.revoke(s.Auth[0], x, "published")
			goOn := s.standStill(y)
			defer s.forge()()
			s.comeBack()
			s.afterB()
			s.ordinary(x)
			goOn()
		},
	},
}

// Each defence is taken away in real processes, and the validators see what then happens; with it, in the same scene,
// they see nothing.
func TestFaultsShowWhatADefencePrevents(t *testing.T) {
	if *duration == 0 {
		t.Skip("make faults DURATION=… runs it")
	}
	for _, a := range anomalies {
		if *setUp != a.setUp && *setUp != "both" {
			continue
		}
		t.Run(a.defence, func(t *testing.T) {
			t.Parallel() // most of it is waiting for B
			t.Run("on", func(t *testing.T) {
				t.Parallel()
				if broken, _ := a.play(t, "", ""); len(broken) > 0 {
					t.Errorf("%s", (&Report{Broken: broken}).Complaint())
				}
			})
			t.Run("off", func(t *testing.T) {
				t.Parallel()
				a.mustBreak(t)
			})
		})
	}
}

// mustBreak plays the scene without the defence. What has to happen at the same time in it doesn't on a machine that stands still:
// then it is played again.
func (a anomaly) mustBreak(t *testing.T) {
	const plays = 5
	for n := 1; ; n++ {
		broken, stood := a.play(t, a.auth, a.resource)
		unbroken := slices.DeleteFunc(slices.Clone(a.breaks), func(promise string) bool {
			return slices.ContainsFunc(broken, func(v Violation) bool { return v.Promise == promise })
		})
		if len(unbroken) == 0 {
			return
		}
		text := fmt.Sprintf("%v: not seen to be broken, but:\n%s", unbroken, (&Report{Broken: broken}).Complaint())
		if stood < machine.Stall || n == plays {
			t.Fatal(text)
		}
		t.Logf("again, as the machine stood still for %v: %s", stood, text)
	}
}
