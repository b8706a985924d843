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
	next, known := t.next[caller]
	if !known && len(t.next) >= t.most {
		t.evict()
	}
	if next.Before(now) {
		next = now
		delete(t.refusing, caller)
	}
	if over := next.Sub(now) - time.Duration(t.burst-1)*t.interval; over > 0 {
		begins := !t.refusing[caller]
		t.refusing[caller] = true
		return refused{wait: over, begins: begins}
	}
	t.next[caller] = next.Add(t.interval)
	return refused{}
}

// giveBack undoes a take of a call that turned out not to count.
func (t *throttle) giveBack(caller string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if next, known := t.next[caller]; known {
		t.next[caller] = next.Add(-t.interval)
	}
}

// evict forgets the one of some that may call again the soonest. Strangers can be as many as they like, so nobody shares a place
// with them; who has called the most is remembered for the longest.
func (t *throttle) evict() {
	var soonest string
	looked := 0
	for caller, next := range t.next {
		if looked == 0 || next.Before(t.next[soonest]) {
			soonest = caller
		}
		if looked++; looked == evictAmong {
			break
		}
	}
	delete(t.next, soonest)
	delete(t.refusing, soonest)
}

// networkOf returns an IPv4 address, or the /64 of an IPv6 one, which a single customer has at least, as a caller; "" for what is
// neither.
func networkOf(ip string) string {
	address, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	if address = address.Unmap(); address.Is4() {
		return prefixOf(address, 32)
	}
	return prefixOf(address, 64)
}

// blockOf returns the /48 of an IPv6 address, which anybody may have for the asking; "" for all else.
func blockOf(ip string) string {
	address, err := netip.ParseAddr(ip)
	if err != nil || address.Unmap().Is4() {
		return ""
	}
	return prefixOf(address, 48)
}

func prefixOf(address netip.Addr, bits int) string {
	prefix, err := address.WithZone("").Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.String()
}
