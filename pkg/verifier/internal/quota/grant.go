package quota

import (
	"sync/atomic"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// grant is what authsvc has last said about a user and a resource. It never changes, but for the purse, which grants of
// one term share.
type grant struct {
	*purse // nil: there is no limit
	term   int64
	asked  clock.Reading
	endsIn time.Duration
	// low is what is left when more than half of the allowance is spent.
	low int64

	limits []events.QuotaLimit
	known  int64 // of what was spent: what the limits take into account
}

// over reports whether the grant has ended.
func (g *grant) over(now clock.Reading) bool { return now.Since(g.asked) >= g.endsIn }

// isLast reports whether what is allowed is all that was left of a limit. Callers hold Meter.mu.
func (g *grant) isLast() bool {
	for _, l := range g.limits {
		if l.Left <= g.allowed-g.known {
			return true
		}
	}
	return false
}

// purse is what may be spent in one term.
type purse struct {
	left atomic.Int64
	// beyond counts what was let through although nothing was left.
	beyond atomic.Int64
	// allowed is what may be spent in all. What was spent is allowed - left. Guarded by Meter.mu.
	allowed int64
	// told is the most that a question has told to be spent, returned is what was put back, and asked is what was spent, put back
	// or not, when the last question was made. Guarded by Meter.mu.
	told, returned, asked int64
}

// take spends one, if there is one, and returns what is left then, or -1.
func (p *purse) take() int64 {
	for {
		left := p.left.Load()
		if left <= 0 {
			return -1
		}
		if p.left.CompareAndSwap(left, left-1) {
			return left - 1
		}
	}
}

// lower leaves no more than most, and returns what was spent until then: from then on at most that much and most are spent,
// until raise. Callers hold Meter.mu.
func (p *purse) lower(most int64) (spent int64) {
	p.allowed += p.beyond.Swap(0)
	for {
		left := p.left.Load()
		lowered := min(left, most)
		if p.left.CompareAndSwap(left, lowered) {
			p.allowed -= left - lowered
			return p.allowed - lowered
		}
	}
}

// tell lowers left for a question, and returns what it tells to be spent. Callers hold Meter.mu.
func (p *purse) tell(keep int64) int64 {
	spent := p.lower(keep)
	p.asked = spent + p.returned
	p.told = max(p.told, spent)
	return p.told
}

// end lets nothing more be spent, and returns what was since the last question, put back or not. Callers hold Meter.mu.
func (p *purse) end() int64 { return p.lower(0) + p.returned - p.asked }

// set makes allowed what may be spent in all. Callers hold Meter.mu.
func (p *purse) set(allowed int64) {
	p.left.Add(allowed - p.allowed)
	p.allowed = allowed
}

// spent returns what was spent until now. Callers hold Meter.mu.
func (p *purse) spent() int64 { return p.allowed - p.left.Load() + p.beyond.Load() }
