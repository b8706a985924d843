package link

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// much prepares more revocations than are read one by one, and an authsvc that makes compact pages.
func much(n int) func(*authority) {
	return func(a *authority) {
		revokeAll(n)(a)
		a.compact = true
	}
}

func TestMuchIsReadAsCompactPages(t *testing.T) {
	const n = 2*events.PageEvents + 1500
	inScene(t, much(n), func(s *scene) {
		s.pass(time.Second)
		s.mustBeReady()
		s.mustHave(1, n)
		stats := s.link.Stats()
		if stats.CatchUps[sourceCompact] != 1 || stats.CatchUps[sourceStream] != 0 || stats.CatchUps[sourceSnapshot] != 0 || stats.BadMessages != 0 {
			t.Errorf("%+v", stats)
		}
		if asked := s.times(events.SnapshotSubject(testService)); asked != 3 {
			t.Errorf("%d pages for %d events", asked, n)
		}
		s.wire.live(s.revoke(jti(n + 1)))
		s.pass(time.Second)
		if stats := s.link.Stats(); stats.Applied != n+1 || stats.Skips != 1 {
			t.Errorf("what followed: %+v", stats)
		}
	})
}

func TestARunningVerifierThatLacksMuchReadsCompactPages(t *testing.T) {
	inScene(t, func(a *authority) { revokeAll(10)(a); a.compact = true }, func(s *scene) {
		s.pass(time.Second)
		s.mustBeReady()
		s.wire.cut()
		s.change(func(a *authority) {
			for n := 11; n <= 5000; n++ {
				a.revoke(jti(n))
			}
		})
		s.wire.mend()
		s.pass(2 * time.Second)
		s.mustHave(1, 5000)
		if stats := s.link.Stats(); stats.CatchUps[sourceCompact] != 1 || stats.Applied != 5000 || stats.Skips != 1 || stats.Mismatches != 0 {
			t.Errorf("%+v", stats)
		}
	})
}

func TestAnAuthsvcWithoutCompactPagesIsReadAsBefore(t *testing.T) {
	inScene(t, revokeAll(1200), func(s *scene) {
		s.pass(5 * time.Second)
		s.mustBeReady()
		s.mustHave(1, 1200)
		if stats := s.link.Stats(); stats.CatchUps[sourceStream] != 1 || stats.CatchUps[sourceSnapshot] != 0 || s.times(events.SnapshotSubject(testService)) != 1 {
			t.Errorf("%+v", stats)
		}
	})
}

// Whatever is wrong with compact pages costs time only.
func TestCompactPagesThatCannotBeTakenAreDoneWithout(t *testing.T) {
	var first *nats.Msg
	for name, spoil := range map[string]func(*authority, *nats.Msg) *nats.Msg{
		"falsified": func(_ *authority, m *nats.Msg) *nats.Msg {
			m.Data[len(m.Data)-1] ^= 1
			return m
		},
		"signed as something else": func(a *authority, m *nats.Msg) *nats.Msg {
			m.Header.Set(events.HeaderSignature, a.signer.Sign(events.KindFeed, m.Data))
			return m
		},
		"signed by somebody else": func(_ *authority, m *nats.Msg) *nats.Msg {
			other := events.NewSigner(testIssuer, newKey('x'))
			m.Header.Set(events.HeaderKey, other.KeyID())
			m.Header.Set(events.HeaderSignature, other.Sign(events.KindPage, m.Data))
			return m
		},
		"cut short, and signed so": func(a *authority, m *nats.Msg) *nats.Msg {
			return a.resigned(m, m.Data[:len(m.Data)-20])
		},
		"with an event that was told otherwise, and signed so": func(a *authority, m *nats.Msg) *nats.Msg {
			m.Data[len(m.Data)-1] ^= 1
			return a.resigned(m, m.Data)
		},
		"of another epoch": func(a *authority, m *nats.Msg) *nats.Msg {
			m.Data[5]++
			return a.resigned(m, m.Data)
		},
		"always the same one": func(_ *authority, m *nats.Msg) *nats.Msg {
			if first == nil {
				first = m
			}
			return first
		},
		"of a later version": func(a *authority, m *nats.Msg) *nats.Msg {
			m.Data[0]++
			return a.resigned(m, m.Data)
		},
		"refused": func(*authority, *nats.Msg) *nats.Msg {
			return &nats.Msg{Header: nats.Header{events.HeaderError: {events.ErrorGone}}}
		},
		"none": func(*authority, *nats.Msg) *nats.Msg { return status("503") },
	} {
		t.Run(name, func(t *testing.T) {
			n := 1100
			if name == "always the same one" {
				n += events.PageEvents
			}
			first = nil
			inScene(t, func(a *authority) {
				much(n)(a)
				a.spoil = func(m *nats.Msg) *nats.Msg { return spoil(a, m) }
			}, func(s *scene) {
				s.pass(20 * time.Second)
				s.mustBeReady()
				s.mustHave(1, n)
				if stats := s.link.Stats(); stats.CatchUps[sourceCompact] != 1 || stats.CatchUps[sourceStream] != 1 || stats.CatchUps[sourceSnapshot] != 0 {
					t.Errorf("%+v", stats)
				}
			})
		})
	}
}

// resigned is a message with another body, as if authsvc had made that.
func (a *authority) resigned(m *nats.Msg, body []byte) *nats.Msg {
	m.Data = body
	m.Header.Set(events.HeaderSignature, a.signer.Sign(events.KindPage, body))
	return m
}

func TestCompactPagesOfABusyAuthsvcAreAskedForAgain(t *testing.T) {
	const n = events.PageEvents + 1100
	inScene(t, func(a *authority) { much(n)(a); a.busy = 5 }, func(s *scene) {
		s.pass(3 * time.Second)
		s.mustBeReady()
		if stats := s.link.Stats(); stats.CatchUps[sourceStream] != 0 {
			t.Errorf("%+v", stats)
		}
	})
}

func TestALostCompactPageIsAskedForAgain(t *testing.T) {
	inScene(t, func(a *authority) { much(1100)(a); a.lostPages = 2 }, func(s *scene) {
		s.pass(4 * time.Second)
		s.mustBeReady()
		if stats := s.link.Stats(); stats.CatchUps[sourceStream] != 0 {
			t.Errorf("%+v", stats)
		}
	})
}
