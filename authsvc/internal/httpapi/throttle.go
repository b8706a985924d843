package httpapi

import (
	"net/netip"
	"sync"
	"time"
)

// throttle bounds how often each caller may make a call: burst times at once, and again each interval (the generic cell rate
// algorithm). It is safe for concurrent use.
type throttle struct {
	interval time.Duration
	burst    int
	most     int // callers that are remembered

	mu   sync.Mutex
	next map[string]time.Time // when a caller will have had as many calls as it may
}

func newThrottle(interval time.Duration, burst, most int) *throttle {
	return &throttle{interval: interval, burst: burst, most: most, next: map[string]time.Time{}}
}

// allow counts a call, and reports whether it is one too many.
func (t *throttle) allow(caller string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := t.place(caller, now)
	next := t.next[from]
	if next.Before(now) {
		next = now
	}
	if next.Sub(now) > time.Duration(t.burst-1)*t.interval {
		return false
	}
	t.next[from] = next.Add(t.interval)
	return true
}

// place returns the caller, or, when too many others are remembered, the one that stands for all the rest.
func (t *throttle) place(from string, now time.Time) string {
	if _, known := t.next[from]; known || len(t.next) < t.most {
		return from
	}
	for other, next := range t.next {
		if next.Before(now) {
			delete(t.next, other)
		}
	}
	if len(t.next) < t.most {
		return from
	}
	return ""
}

// networkOf returns an IPv4 address, or the /64 of an IPv6 one, which a single customer has at least, as a caller; "" for what is
// neither.
func networkOf(ip string) string {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	bits := 64
	if address = address.Unmap(); address.Is4() {
		bits = 32
	}
	network, err := address.WithZone("").Prefix(bits)
	if err != nil {
		return ""
	}
	return network.String()
}
