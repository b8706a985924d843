package revset

import "github.com/tocsin-auth/tocsin/pkg/events"

// cutOffs are the versions below which a user's credentials are dead. Most often tokens alone are cut off, or tokens and
// keys by the same event, so that one level says both: the version, and whether keys are cut off at the same one. Where keys are
// cut off at a lower version than tokens, that is in keysBelow.
//
// A user in keysBelow is in latest with at least the same bucket. keysBelow is raised before latest stops saying the same,
// so a reader that finds nothing about keys in latest finds it there.
type cutOffs struct {
	latest    levels
	keysBelow levels
}

// tokens returns the version below which tokens are dead, or 0.
func (c *cutOffs) tokens(user events.ID) int64 {
	level, _ := c.latest.find(user)
	tv, _ := split(level)
	return tv
}

// keys returns the version below which API keys are dead, or 0.
func (c *cutOffs) keys(user events.ID) int64 {
	level, known := c.latest.find(user)
	tv, keys := split(level)
	if keys || !known {
		return tv
	}
	below, _ := c.keysBelow.find(user)
	return int64(below)
}

func (c *cutOffs) raise(user events.ID, until bucket, tv int64, keys bool) bool {
	level, _ := c.latest.find(user)
	knownTV, knownKeys := split(level)
	changed := false
	switch {
	case keys && tv < knownTV && !knownKeys:
		changed = c.keysBelow.raise(user, until, uint64(tv))
	case !keys && tv > knownTV && knownKeys:
		// What is known of the keys has to outlast the events that said it: the latest of those is in latest's bucket.
		c.keysBelow.raise(user, max(until, c.latest.bucket(user)), uint64(knownTV))
	}
	return c.latest.raise(user, until, versioned(tv, keys)) || changed
}

func (c *cutOffs) forget(part int, horizon bucket) {
	c.latest.forget(part, horizon)
	c.keysBelow.forget(part, horizon)
}
