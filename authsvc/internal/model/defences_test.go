package model

import (
	"errors"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/feed/feedtest"
)

// anomaly is a schedule that one defence stops. Run with the defence it breaks nothing; without, it breaks a promise.
type anomaly struct {
	defence string
	without defects // empty: the verifier's defence of that name
	promise string
	happens func(*stage) error
}

// stage is a world with one verifier, two replicas and no accidents but those of the schedule.
type stage struct {
	*world
	m    *machine
	a, b *replica
	c, d *credential // tokens
	key  *credential
}

func newStage(d defects) (*stage, error) {
	s := &stage{world: newWorld(d)}
	s.populate(1, 2)
	s.m, s.a, s.b = s.machines[0], s.replicas[0], s.replicas[1]
	s.c, s.key, s.d = s.auth.credentials[0], s.auth.credentials[1], s.auth.credentials[2]
	return s, s.freshen(s.m, s.a)
}

// longAfter lets more than B pass, in which everything works, and judges.
func (s *stage) longAfter(r *replica) error {
	for range 2 {
		s.advance(20 * time.Second)
		if err := s.freshen(s.m, r); err != nil {
			return err
		}
	}
	return s.judge()
}

// round lets a replica do a round; errors show in what comes of it.
func (s *stage) round(r *replica, requests ...feed.Request) { _ = s.step(r, requests, 0, nil) }

// anomaliesOfTheIssuer are those that its dispatcher, its database and its writers prevent.
var anomaliesOfTheIssuer = []anomaly{
	{
		defence: "the event is in the transaction of the change", without: defects{publishLater: true}, promise: "BoundedAcceptance",
		happens: func(s *stage) error {
			s.auth.revokeToken(s.c)
			return s.longAfter(s.a)
		},
	},
	{
		defence: "numbering is fenced by the term", without: defects{JournalDefects: feedtest.JournalDefects{Unfenced: true}}, promise: "BoundedAcceptance",
		happens: func(s *stage) error {
			_ = s.step(s.a, nil, 1, func() { // frozen before it numbers; the other takes over and is heard
				s.advance(2 * time.Second)
				s.auth.revokeToken(s.c)
				s.round(s.b)
				s.m.hear(s.messages...)
				s.auth.revokeToken(s.d)
			})
			return s.longAfter(s.b)
		},
	},
	{
		defence: "rows are chosen by having no number", without: defects{JournalDefects: feedtest.JournalDefects{Cursor: true}}, promise: "BoundedAcceptance",
		happens: func(s *stage) error {
			early := s.journal.Begin()
			s.auth.revokeToken(s.d)
			if err := s.freshen(s.m, s.a); err != nil {
				return err
			}
			s.auth.reserved = []string{early}
			s.auth.revokeToken(s.c)
			return s.longAfter(s.a)
		},
	},
	{
		defence: "nothing is proven while rows are unnumbered", without: defects{JournalDefects: feedtest.JournalDefects{HideMore: true}}, promise: "BoundedAcceptance",
		happens: func(s *stage) error {
			s.journal.Limit = 1
			for range 20 {
				s.auth.changeRole(s.d.user)
			}
			s.auth.revokeToken(s.c)
			return s.longAfter(s.a)
		},
	},
	{
		defence: "the floor is below every event that concerns somebody", without: defects{JournalDefects: feedtest.JournalDefects{EagerFloor: true}}, promise: "BoundedAcceptance",
		happens: func(s *stage) error {
			s.auth.revokeToken(s.c)
			s.round(s.a)
			s.m.start()
			return s.longAfter(s.a)
		},
	},
	{
		defence: "numbering begins after the question", without: defects{lateQuestions: true}, promise: "BoundedAcceptance",
		happens: func(s *stage) error {
			first := s.m.ask()
			_ = s.step(s.a, []feed.Request{first}, 2, func() { // frozen after it has numbered
				s.auth.revokeToken(s.c)
				s.advance(time.Second)
				s.m.ask()
			})
			s.m.take(s.answers...)
			s.advance(bound - 500*time.Millisecond)
			return s.judge()
		},
	},
	{
		defence: "clocks are read, never cached", without: defects{cachedClock: true}, promise: "BoundedAcceptance",
		happens: func(s *stage) error {
			s.auth.revokeToken(s.c)
			s.advance(bound + time.Second) // frozen
			return s.judge()
		},
	},
}

// Each of these defences is needed, and the judge notices that it is gone.
func TestBoundedAcceptanceNeedsEachDefenceOfTheIssuer(t *testing.T) {
	for _, a := range anomaliesOfTheIssuer {
		t.Run(a.defence, func(t *testing.T) {
			a.mustNot(t, defects{})
			a.must(t, a.without)
		})
	}
}

func (a *anomaly) run(d defects) error {
	s, err := newStage(d)
	defer s.close()
	if err != nil {
		return err
	}
	return a.happens(s)
}

func (a *anomaly) mustNot(t *testing.T, d defects) {
	t.Helper()
	if err := a.run(d); err != nil {
		t.Errorf("with the defence: %v", err)
	}
}

func (a *anomaly) must(t *testing.T, d defects) {
	t.Helper()
	err := a.run(d)
	var broken *violation
	if !errors.As(err, &broken) || broken.promise != a.promise {
		t.Errorf("without the defence %s holds: %v", a.promise, err)
		return
	}
	t.Log(err)
}
