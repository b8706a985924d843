package faults

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

const (
	callTimeout = 2 * time.Second
	// callPause is the mean time between two calls of one caller.
	callPause = 12 * time.Millisecond
	// callers are how many call each instance, so that a frozen one doesn't stop the calls to others.
	callers = 4
)

// call uses a credential at an instance on a route without a quota.
func (s *System) call(ctx context.Context, r *Resource, c *credential, elite bool) Call {
	done := s.try(ctx, r, c, elite)
	s.Recorder.Add(done)
	return done
}

// decided is call, again while nothing was decided as the machine stands still, or did a moment ago.
func (s *System) decided(ctx context.Context, r *Resource, c *credential, elite bool) {
	for deadline := time.Now().Add(patience); ; pause(ctx, 10*time.Millisecond) {
		began := time.Now()
		done := s.try(ctx, r, c, elite)
		ended := time.Now()
		if done.Accepted() || done.Refused() || s.beat.StoodStill(began.Add(-recovery), ended) < machine.Stall || ended.After(deadline) {
			s.Recorder.Add(done)
			return
		}
	}
}

func (s *System) try(ctx context.Context, r *Resource, c *credential, elite bool) Call {
	path := "/v1/whoami"
	if elite {
		path = "/v1/whoami/elite"
	}
	return s.request(ctx, r, c, path, Call{Elite: elite})
}

// request uses a credential at an instance on some route; it is for the caller to record what was answered.
func (s *System) request(ctx context.Context, r *Resource, c *credential, path string, done Call) Call {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	done.Begin, done.Instance, done.Credential = s.Recorder.Now(), r.Instance, c.name
	answer, err := r.Try(ctx, "GET", path, c.authorization, nil)
	done.End = s.Recorder.Now()
	if err == nil {
		done.Status, done.Code, done.Role = answer.Status, answer.Code(), shownRole(answer)
	}
	return done
}

// rolePrefix begins the role that numbers a user's role changes.
const rolePrefix = "r"

// shownRole reads the number of the last role change from an accepted call, 0 before the first.
func shownRole(a system.Answer) int {
	var who struct{ Roles []string }
	if a.Status != 200 || json.Unmarshal(a.Body, &who) != nil {
		return 0
	}
	for _, role := range who.Roles {
		if number, ok := strings.CutPrefix(role, rolePrefix); ok {
			if n, err := strconv.Atoi(number); err == nil {
				return n
			}
		}
	}
	return 0
}

// keepCalling calls one instance with whatever the pool gives until the context ends.
func (s *System) keepCalling(ctx context.Context, r *Resource, p *pool, rng *rand.Rand) {
	for pause(ctx, time.Duration(rng.ExpFloat64()*float64(callPause))) {
		if c := p.pick(rng); c != nil {
			s.call(ctx, r, c, rng.IntN(5) == 0)
		}
	}
}

// pause waits, as users do; false when the context has ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
