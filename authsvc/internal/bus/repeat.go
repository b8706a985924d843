package bus

import (
	"regexp"
	"sync"
	"time"
)

const (
	// repeatAgain is how often the same message of the server is logged, which says some for every try of every client.
	repeatAgain = time.Minute
	// repeatKinds bounds what is remembered for that.
	repeatKinds = 256
)

var numbers = regexp.MustCompile(`[0-9]+`)

// repeats tells messages that differ in numbers only, such as ports and the ids of connections, from new ones.
type repeats struct {
	mu   sync.Mutex
	seen map[string]repeated
}

type repeated struct {
	told   time.Time
	untold int
}

// pass reports whether a message is to be logged now, and how many like it weren't since the last one.
func (r *repeats) pass(message string, now time.Time) (untold int, ok bool) {
	kind := numbers.ReplaceAllLiteralString(message, "0")
	r.mu.Lock()
	defer r.mu.Unlock()
	was, known := r.seen[kind]
	if known && now.Sub(was.told) < repeatAgain {
		was.untold++
		r.seen[kind] = was
		return 0, false
	}
	if r.seen == nil || len(r.seen) >= repeatKinds {
		r.seen = map[string]repeated{}
	}
	r.seen[kind] = repeated{told: now}
	return was.untold, true
}
