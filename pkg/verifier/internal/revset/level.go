package revset

import "math"

// deadAtOnce is the not_after of a key that is dead whatever the reader's clock says.
const deadAtOnce = math.MinInt64

// endLevel turns the end of a key, of which the earliest counts, into a level; 0 is no end.
func endLevel(notAfter int64) uint64 { return uint64(Never) - uint64(notAfter) }

func levelEnd(level uint64) int64 { return int64(uint64(Never) - level) }

// suspensionLevel puts the version first: the highest counts. No version is given twice; if one were, suspended would win,
// in every order. Versions of the issuer are positive, and none is below what is known without any.
func suspensionLevel(kv int64, suspended bool) uint64 {
	if kv < 0 {
		return 0
	}
	return versioned(kv, suspended)
}

// versioned is twice a version, and one more if what is said of it holds.
func versioned(version int64, holds bool) uint64 {
	if holds {
		return uint64(version)<<1 | 1
	}
	return uint64(version) << 1
}

func split(level uint64) (version int64, holds bool) { return int64(level >> 1), level&1 == 1 }
