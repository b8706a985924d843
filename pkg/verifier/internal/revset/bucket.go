package revset

import "math"

// bucket is an until in whole minutes since 1970, rounded up: what shares one is forgotten together, never early, and at
// most a minute late. Four bytes last for 8,000 years. No entry has bucket 0.
type bucket uint32

const (
	bucketWidth = 60_000_000 // microseconds
	lastBucket  = math.MaxUint32
)

// bucketOf returns the bucket of a positive until.
func bucketOf(until int64) bucket {
	return bucket(min((until-1)/bucketWidth+1, lastBucket))
}

// passed returns the last bucket of which every until is at or before the horizon. The last bucket of all has no end, so
// it never passes.
func passed(horizon int64) bucket {
	return bucket(min(horizon/bucketWidth, lastBucket-1))
}
