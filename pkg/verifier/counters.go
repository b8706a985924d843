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
	accepted, hits atomic.Uint64

	refused [len(codes)]atomic.Uint64
	_       [128 - (2+len(codes))*8%128]byte
}

func (c *counters) accepted(s uint8) { c.striped[s%stripes].accepted.Add(1) }
func (c *counters) hit(s uint8)      { c.striped[s%stripes].hits.Add(1) }
func (c *counters) miss()            { c.misses.Add(1) }

// refused counts an error that isn't a refusal as what it is answered as.
func (c *counters) refused(s uint8, err error) { c.striped[s%stripes].refused[codeIndex(err)].Add(1) }

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
		s.Accepted += c.striped[i].accepted.Load()
		s.CacheHits += c.striped[i].hits.Load()
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
