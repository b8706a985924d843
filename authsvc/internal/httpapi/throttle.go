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

	mu       sync.Mutex
	next     map[string]time.Time // when a caller will have had as many calls as it may
	refusing map[string]bool      // who was refused since it had last been quiet for long enough to call as often as it may again
}

func newThrottle(interval time.Duration, burst, most int) *throttle {
	return &throttle{interval: interval, burst: burst, most: most, next: map[string]time.Time{}, refusing: map[string]bool{}}
}

// allow counts a call, and reports whether it isn't one too many.
func (t *throttle) allow(caller string, now time.Time) bool {
	r := t.take(caller, now)
	return r.wait == 0
}

// refused is the answer to a call that may be one too many.
type refused struct {
	wait   time.Duration // until the caller may call again; 0: it wasn't refused
	begins bool          // the first refusal of an episode
}

// take counts a call unless it is one too many.
func (t *throttle) take(caller string, now time.Time) refused {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := t.place(caller, now)
	next := t.next[from]
	if next.Before(now) {
		next = now
		delete(t.refusing, from)
	}
	if over := next.Sub(now) - time.Duration(t.burst-1)*t.interval; over > 0 {
		begins := !t.refusing[from]
		t.refusing[from] = true
		return refused{wait: over, begins: begins}
	}
	t.next[from] = next.Add(t.interval)
	return refused{}
}

// giveBack undoes a take of a call that turned out not to count.
func (t *throttle) giveBack(caller string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.next[caller]; !known {
		caller = "" // it was counted with the rest
	}
	if next, known := t.next[caller]; known {
		t.next[caller] = next.Add(-t.interval)
	}
}

// place returns the caller, or, when too many others are remembered, the one that stands for all the rest.
func (t *throttle) place(from string, now time.Time) string {
	if _, known := t.next[from]; known || len(t.next) < t.most {
		return from
	}
	for other, next := range t.next {
		if next.Before(now) {
			delete(t.next, other)
			delete(t.refusing, other)
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
