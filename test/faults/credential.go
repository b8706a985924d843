package faults

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// credential is one token or key as the traffic knows it.
type credential struct {
	name, user    string
	subject       string // the user's id
	authorization string
	key           bool
}

// secret is what the Authorization header carries.
func (c *credential) secret() string {
	_, secret, _ := strings.Cut(c.authorization, " ")
	return secret
}

// pool is what callers choose from: credentials in use, those that died lately, and any of the past.
type pool struct {
	hotFor time.Duration // how long callers turn to what was changed: beyond the bound
	mu     sync.Mutex
	all    []*credential
	active []*credential
	hot    []warm // of a change that has just returned
}

type warm struct {
	*credential
	until time.Duration
}

func (p *pool) add(c *credential) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all, p.active = append(p.all, c), append(p.active, c)
}

func (p *pool) heat(cs []*credential, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.hot[:0]
	for _, w := range p.hot {
		if w.until > now {
			kept = append(kept, w)
		}
	}
	p.hot = kept
	for _, c := range cs {
		p.hot = append(p.hot, warm{c, now + p.hotFor})
	}
}

// retire leaves credentials to the past.
func (p *pool) retire(cs []*credential) {
	gone := map[*credential]bool{}
	for _, c := range cs {
		gone[c] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.active[:0]
	for _, c := range p.active {
		if !gone[c] {
			kept = append(kept, c)
		}
	}
	p.active = kept
}

// pick chooses one, nil while there is none.
func (p *pool) pick(rng *rand.Rand) *credential {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch n := rng.IntN(10); {
	case n < 4 && len(p.hot) > 0:
		return p.hot[rng.IntN(len(p.hot))].credential
	case n < 9 && len(p.active) > 0:
		return p.active[rng.IntN(len(p.active))]
	case len(p.all) > 0:
		return p.all[rng.IntN(len(p.all))]
	}
	return nil
}

// pickActive chooses one that is in use, nil while there is none.
func (p *pool) pickActive(rng *rand.Rand) *credential {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.active) == 0 {
		return nil
	}
	return p.active[rng.IntN(len(p.active))]
}

func (p *pool) everything() []*credential {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*credential(nil), p.all...)
}

// heatActive is heat for everything that is in use.
func (p *pool) heatActive(now time.Duration) {
	p.mu.Lock()
	active := append([]*credential(nil), p.active...)
	p.mu.Unlock()
	p.heat(active, now)
}
