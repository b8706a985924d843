package follower

import (
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// Freshness is one accepted proof. It is never changed.
type Freshness struct {
	// Since is S: when the question was asked, by this process's clocks, before it was published.
	Since clock.Reading
	Epoch string
	Head  uint64
	Term  int64
	// Now is the greatest signed time of the issuer's database, in microseconds.
	Now int64
}

// Within reports whether the proof still stands at now for a bound. It is false for nil: nothing was ever proven.
func (f *Freshness) Within(now clock.Reading, bound time.Duration) bool {
	return f != nil && now.Since(f.Since) <= bound
}

// Time returns the time for judging exp, in microseconds: the later of own wall time and signed time + elapsed.
func (f *Freshness) Time(now clock.Reading) int64 {
	return max(now.Micros(), f.Now+now.Since(f.Since).Microseconds())
}

// Config is what a follower needs. All fields are required.
type Config struct {
	Issuer     string
	Instance   string
	StartNonce string
	// Bound is the largest staleness bound of any route, told in questions; see [Follower.SetBound].
	Bound time.Duration
	// Apply puts an event into the set; it MUST have taken effect for every reader when it returns.
	Apply func(events.Event)
	// KeySetHash returns the hash of the token key set that readers see now.
	KeySetHash func() events.Hash
	// Skipped is called before a proof is accepted that leaps over events never seen (they are past until): caches of
	// resolved API keys MUST be empty when it returns. It MUST NOT call the follower.
	Skipped func()
}

// Follower is the state machine. All methods are safe for concurrent use.
type Follower struct{}

// New returns a follower that has proven nothing.
func New(cfg Config) *Follower { return &Follower{} }

// Fresh returns the last accepted proof, nil before the first. It is one atomic load.
func (f *Follower) Fresh() *Freshness { return nil }

// Stats is a snapshot for people and metrics.
type Stats struct {
	Epoch      string
	Term       int64
	Applied    uint64 // end of what is applied without a hole
	Head       uint64 // greatest head of any answer in Epoch
	Proofs     uint64 // accepted answers
	Held       int    // answers waiting for events or keys
	Events     uint64 // applied, repetitions included
	Gaps       uint64 // messages that arrived beyond a hole
	Mismatches uint64 // answers or messages whose chain contradicted ours
	Skips      uint64
	LastEvent  int64 // time of the newest contiguous event, microseconds
}

// Stats returns a snapshot.
func (f *Follower) Stats() Stats { return Stats{} }
