package verifier

import (
	"slices"
	"sync/atomic"
)

// codes are all refusals, in the order in which they are counted.
var codes = [...]Code{
	CodeMissingCredential, CodeInvalidRequest, CodeMalformed, CodeInvalidToken, CodeExpired, CodeRevoked, CodeUnknownKey,
	CodeWrongAudience, CodeWrongMode, CodeForbidden, CodeQuotaExceeded, CodeStale, CodeAuthUnavailable,
}

// stripes keep cores that verify different credentials from writing to the same cache line.
const stripes = 16

type counters struct {
	striped [stripes]stripe

	misses, resolves, elite, unavailable atomic.Uint64

	endings [len(codes)]atomic.Uint64 // of long answers
}

// stripe is as large as whole cache lines.
type stripe struct {
	// Accepted from a cache, accepted otherwise, refused from a cache: one addition for the most frequent of decisions.
	acceptedHits, accepted, refusedHits atomic.Uint64

	refused [len(codes)]atomic.Uint64
	_       [128 - (3+len(codes))*8%128]byte
}

// tally is how to count a decision.
type tally struct {
	stripe uint8
	hit    bool // the credential was in a cache
}

// tallyOf is that of a holding from a cache, or of none.
func tallyOf(h *holding) tally {
	if h == nil {
		return tally{}
	}
	return tally{h.stripe, true}
}

func (c *counters) accepted(t tally) {
	s := &c.striped[t.stripe%stripes]
	if t.hit {
		s.acceptedHits.Add(1)
	} else {
		s.accepted.Add(1)
	}
}

func (c *counters) miss() { c.misses.Add(1) }

// refused counts an error that isn't a refusal as what it is answered as.
func (c *counters) refused(t tally, err error) {
	s := &c.striped[t.stripe%stripes]
	if t.hit {
		s.refusedHits.Add(1)
	}
	s.refused[codeIndex(err)].Add(1)
}

// ended counts a long answer that was ended by a refusal.
func (c *counters) ended(err error) { c.endings[codeIndex(err)].Add(1) }

func codeIndex(err error) int {
	code := CodeAuthUnavailable
	if known := CodeOf(err); known != "" {
		code = known
	}
	return slices.Index(codes[:], code)
}

// addTo sums up the stripes.
func (c *counters) addTo(s *Stats) {
	s.Refused = make(map[Code]uint64, len(codes))
	for i := range c.striped {
		hits := c.striped[i].acceptedHits.Load()
		s.Accepted += hits + c.striped[i].accepted.Load()
		s.CacheHits += hits + c.striped[i].refusedHits.Load()
		for j, code := range codes {
			s.Refused[code] += c.striped[i].refused[j].Load()
		}
	}
	s.LongAnswersEnded = make(map[Code]uint64, len(codes))
	for i, code := range codes {
		s.LongAnswersEnded[code] = c.endings[i].Load()
	}
	s.CacheMisses = c.misses.Load()
	s.Resolves, s.EliteChecks, s.AuthUnavailable = c.resolves.Load(), c.elite.Load(), c.unavailable.Load()
}
