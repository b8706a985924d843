package faults

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tocsin-auth/tocsin/test/system"
)

const (
	authTimeout = 4 * time.Second
	persons     = 6
)

// Traffic is users who live and lose their credentials, and callers who try those.
type Traffic struct {
	*System
	seed uint64
	pool pool
	// spending are the credentials of those who have a quota; all are in the pool, too.
	spending pool
	admin    admin
	// changed is told of each change that has returned; nobody need listen.
	changed chan struct{}

	// everybody is held by one who changes something of all users, and shared by everyone else's changes: so a
	// credential was surely issued before or after.
	everybody  sync.RWMutex
	generation int // raised when nobody knows any more who still has what
	unsure     int // the last one of these that began with a change which may still happen
	serial     atomic.Int64
	roles      atomic.Int64
}

// admin is the administrator, who logs in again when that is needed.
type admin struct {
	mu    sync.Mutex
	token string
}

// NewTraffic prepares traffic on a system.
func NewTraffic(s *System, seed uint64) *Traffic {
	return &Traffic{System: s, seed: seed, pool: pool{hotFor: s.bound + 2*time.Second}, changed: make(chan struct{}, 1)}
}

// Run lives until the context ends, and returns when every call has been recorded.
func (f *Traffic) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	f.setPlans(ctx)
	for i, r := range f.Resources {
		for n := range callers {
			running.Go(func() { f.keepCalling(ctx, r, &f.pool, f.rng(1, i, n)) })
		}
	}
	for i, r := range f.Resources {
		running.Go(func() { f.keepSampling(ctx, r) })
		running.Go(func() { f.useLongAnswers(ctx, i, r) })
	}
	for i, r := range f.Resources {
		running.Go(func() { f.keepSpending(ctx, r, f.rng(10, i, 0)) })
	}
	for i := range spenders {
		running.Go(func() {
			for ctx.Err() == nil {
				f.spend(ctx, f.rng(11, i, int(f.serial.Add(1))))
			}
		})
	}
	for i := range persons {
		running.Go(func() {
			for ctx.Err() == nil {
				f.live(ctx, f.rng(2, i, int(f.serial.Add(1))))
			}
		})
	}
	for i := range robbed {
		running.Go(func() {
			for ctx.Err() == nil {
				f.beRobbed(ctx, f.rng(4, i, int(f.serial.Add(1))))
			}
		})
	}
	for i := range families {
		running.Go(func() {
			for ctx.Err() == nil {
				f.beServed(ctx, f.rng(8, i, int(f.serial.Add(1))))
			}
		})
	}
	running.Go(func() { f.strikeEverybody(ctx, f.rng(3, 0, 0)) })
}

func (f *Traffic) rng(kind, i, n int) *rand.Rand {
	return rand.New(rand.NewPCG(f.seed, uint64(kind)<<32|uint64(i)<<24|uint64(n)))
}

// auth calls any authsvc.
func (f *Traffic) auth(ctx context.Context, rng *rand.Rand, method, path, authorization string, body any) (system.Answer, string, error) {
	ctx, cancel := context.WithTimeout(ctx, authTimeout)
	defer cancel()
	a := f.Auth[rng.IntN(len(f.Auth))]
	answer, err := a.Try(ctx, method, path, authorization, body)
	return answer, a.Base, err
}

// outcomeOf: whoever couldn't connect has surely changed nothing, and neither has a call that was refused.
func outcomeOf(a system.Answer, err error) Outcome {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Failed
	case err != nil || a.Status >= 500:
		return Unknown
	case a.Status >= 400:
		return Failed
	}
	return Done
}

// asAdmin returns the administrator's Authorization header, empty when no authsvc answers.
func (f *Traffic) asAdmin(ctx context.Context, rng *rand.Rand) string {
	f.admin.mu.Lock()
	defer f.admin.mu.Unlock()
	if f.admin.token != "" {
		return system.Bearer(f.admin.token)
	}
	answer, _, err := f.auth(ctx, rng, "POST", "/v1/login", "", map[string]string{"username": "admin", "password": system.AdminPassword})
	if err != nil || answer.Status != 200 {
		return ""
	}
	f.admin.token = tokenIn(answer).AccessToken
	return system.Bearer(f.admin.token)
}

// logAdminOut makes the administrator log in again before the next change.
func (f *Traffic) logAdminOut() {
	f.admin.mu.Lock()
	defer f.admin.mu.Unlock()
	f.admin.token = ""
}
