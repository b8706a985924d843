package httpapi

import (
	"net/netip"
	"sync"
	"time"
)

// throttle bounds how often each address may make a call: burst times at once, and again each interval (the generic cell rate
// algorithm). It is safe for concurrent use.
type throttle struct {
	interval time.Duration
	burst    int
	most     int // addresses that are remembered

	mu   sync.Mutex
	next map[netip.Prefix]time.Time // when an address will have had as many calls as it may
}

func newThrottle(interval time.Duration, burst, most int) *throttle {
	return &throttle{interval: interval, burst: burst, most: most, next: map[netip.Prefix]time.Time{}}
}

// allow counts a call, and reports whether it is one too many.
func (t *throttle) allow(ip string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := t.place(networkOf(ip), now)
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

// place returns the address, or, when too many others are remembered, the one that stands for all the rest.
func (t *throttle) place(from netip.Prefix, now time.Time) netip.Prefix {
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
	return netip.Prefix{}
}

// networkOf returns an IPv4 address, or the /64 of an IPv6 one: a single customer has at least that.
func networkOf(ip string) netip.Prefix {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Prefix{}
	}
	bits := 64
	if address = address.Unmap(); address.Is4() {
		bits = 32
	}
	network, err := address.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return network
}
