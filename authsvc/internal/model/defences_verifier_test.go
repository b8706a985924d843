//go:build tocsin_defects

package model

import (
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiermodel"
)

// anomaliesOfTheVerifier are those that the verifier prevents.
var anomaliesOfTheVerifier = []anomaly{
	{
		defence: "contiguity", promise: "BoundedAcceptance",
		happens: func(s *stage) error {
			s.auth.revokeToken(s.c)
			s.round(s.a) // its message is lost
			s.advance(20 * time.Second)
			s.auth.revokeToken(s.d)
			lost := len(s.messages)
			s.round(s.a, s.m.ask())
			s.m.hear(s.messages[lost:]...)
			return s.answered()
		},
	},
	{
		defence: "chain", promise: "BoundedAcceptance",
		happens: func(s *stage) error {
			s.backup = s.journal.Backup()
			s.auth.revokeToken(s.d)
			if err := s.freshen(s.m, s.a); err != nil {
				return err
			}
			s.lose() // and every process of authsvc with it
			s.advance(2 * time.Second)
			next := s.replica(issuer)
			s.auth.revokeToken(s.c)
			s.round(next) // the same number, another event; its message is lost
			s.advance(20 * time.Second)
			s.round(next, s.m.ask())
			return s.answered()
		},
	},
	{
		defence: "signature", promise: "BoundedAcceptance",
		happens: func(s *stage) error {
			s.auth.revokeToken(s.c)
			s.advance(20 * time.Second)
			s.forgeAnswer(s.m.ask())
			return s.answered()
		},
	},
	{
		defence: "catch-up", promise: "NothingLost",
		happens: func(s *stage) error {
			s.auth.revokeToken(s.c)
			s.round(s.a) // the verifier was cut off
			return s.longAfter(s.a)
		},
	},
	{
		defence: "fill limit", promise: "BoundedAcceptance",
		happens: func(s *stage) error {
			if _, err := s.m.call(s.key, bound); err != nil {
				return err
			}
			s.auth.revokeUser(s.key.user, true)
			if err := s.freshen(s.m, s.a); err != nil {
				return err
			}
			s.advance(eventLife + time.Minute)
			if err := s.freshen(s.m, s.a); err != nil {
				return err
			}
			s.m.Forget()
			return s.judge()
		},
	},
	{
		defence: "generation", promise: "BoundedAcceptance",
		happens: func(s *stage) error {
			if _, err := s.m.call(s.key, bound); err != nil {
				return err
			}
			s.auth.revokeUser(s.key.user, true)
			s.round(s.a) // its message is lost
			s.leap(2 * eventLife)
			return s.longAfter(s.a)
		},
	},
}

// answered gives the verifier the answers there are, and lets B pass since the revocation, not since the question.
func (s *stage) answered() error {
	s.m.take(s.answers...)
	s.advance(15 * time.Second)
	return s.judge()
}

func TestEachDefenceOfTheVerifierIsNeeded(t *testing.T) {
	for _, a := range anomaliesOfTheVerifier {
		t.Run(a.defence, func(t *testing.T) {
			a.mustNot(t, defects{})
			off := verifiermodel.Defects[a.defence]
			*off = true
			defer func() { *off = false }()
			a.must(t, defects{})
		})
	}
}
