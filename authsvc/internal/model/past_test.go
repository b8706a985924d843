package model

import (
	"testing"
	"time"
)

// pastFailures are schedules, shortened, that broke a promise once.
var pastFailures = []struct {
	was     string
	happens func(*stage) error
}{
	{
		// -rapid.seed=2005458985232150551, before 9e2ed6d
		was: "a verifier whose proven run began above what a restored database numbers was never fresh again",
		happens: func(s *stage) error {
			s.backup = s.journal.Backup()
			s.auth.changeRole(s.c.user)
			s.auth.revokeToken(s.c)
			s.round(s.a)
			s.leap(2 * eventLife)
			s.m.start() // all that it learns is a position
			if err := s.freshen(s.m, s.a); err != nil {
				return err
			}
			s.lose()
			s.bus.Wipe()
			s.advance(2 * time.Second)
			next := s.replica(issuer)
			s.auth.revokeToken(s.d)
			return s.longAfter(next)
		},
	},
	{
		was: "a running verifier refused every new token as expired after the database's clock had been ahead",
		happens: func(s *stage) error {
			s.setDatabase(29 * time.Minute)
			if err := s.freshen(s.m, s.a); err != nil {
				return err
			}
			s.setDatabase(0)
			good := s.auth.mint(s.c.user, 1)[0]
			if err := s.freshen(s.m, s.a); err != nil {
				return err
			}
			return s.m.verdict(good)
		},
	},
	{
		was: "who started after the database's clock had been ahead accepted what was revoked before",
		happens: func(s *stage) error {
			s.auth.revokeToken(s.c)
			s.round(s.a)
			s.advance(3 * time.Minute)
			s.setDatabase(29 * time.Minute)
			s.round(s.a)
			s.setDatabase(0)
			s.m.start()
			return s.longAfter(s.a)
		},
	},
	{
		// -rapid.seed=9207504814313315859
		was: "a leap of the database's clock made the set forget what a cached resolution of a key still needed",
		happens: func(s *stage) error {
			if _, err := s.m.call(s.key, bound); err != nil {
				return err
			}
			s.auth.revokeUser(s.key.user, true)
			if err := s.freshen(s.m, s.a); err != nil {
				return err
			}
			s.leap(2 * eventLife)
			if err := s.freshen(s.m, s.a); err != nil {
				return err
			}
			s.m.Forget()
			return s.longAfter(s.a)
		},
	},
}

func TestPastFailuresOfTheModelStayMended(t *testing.T) {
	for _, f := range pastFailures {
		t.Run(f.was, func(t *testing.T) {
			s, err := newStage(defects{})
			defer s.close()
			if err == nil {
				err = f.happens(s)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}
