package quota

import (
	"sync"
	"time"
)

// pace bounds how often each service does something: burst times at once, and once in every from then on. It is safe for concurrent use.
type pace struct {
	every time.Duration
	burst int
	now   func() time.Time // monotonic

	mu   sync.Mutex
	paid map[string]time.Time // when what a service has done is paid for, of those that owe something
}

// allow reports whether a service may do something now, and counts it then.
func (p *pace) allow(service string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	paid, owes := p.paid[service]
	if !owes {
		p.forget(now)
		paid = now
	}
	if paid.Before(now) {
		paid = now
	}
	paid = paid.Add(p.every)
	if paid.Sub(now) > time.Duration(p.burst)*p.every {
		return false
	}
	p.paid[service] = paid
	return true
}

// forget drops those that owe nothing, before there is one more.
func (p *pace) forget(now time.Time) {
	if p.paid == nil {
		p.paid = map[string]time.Time{}
	}
	for service, paid := range p.paid {
		if !paid.After(now) {
			delete(p.paid, service)
		}
	}
}
