package revset

import (
	"slices"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Apply takes one event that [events.DecodeEvent] made, in any order and any number of times. When it returns, every
// reader sees the event. Events past until, and unknown ones, change nothing; it reports whether such an event could have
// concerned an API key.
//
// What an event past until revokes has expired by any clock that judges exp, see [Set.Horizon]. That isn't so for a
// resolution of an API key when the issuer's clock was set back: so whoever holds resolutions MUST drop those made before
// an event that wasn't kept. One that is kept and could concern API keys stays at least until keysUntil, in microseconds.
func (s *Set) Apply(e events.Event, keysUntil int64) (missed bool) {
	s.writing.Lock()
	defer s.writing.Unlock()
	changed, missed := s.take(e, keysUntil)
	if changed {
		s.version.Add(1) // after the content: a reader that sees the version sees the content
	}
	return missed
}

// ApplyAll is [Set.Apply] for the events of one message, and returns the seqs of those for which that would report true.
// They are one change of the version, because each has readers look every credential up again. keysUntil is asked before
// each event.
func (s *Set) ApplyAll(all []events.Event, keysUntil func() int64) (missed []uint64) {
	s.writing.Lock()
	defer s.writing.Unlock()
	changed := false
	for _, e := range all {
		told, passed := s.take(e, keysUntil())
		changed = changed || told
		if passed {
			missed = append(missed, e.Seq)
		}
	}
	if changed {
		s.version.Add(1)
	}
	return missed
}

// take reports whether readers can see a difference, and what Apply reports.
func (s *Set) take(e events.Event, keysUntil int64) (changed, missed bool) {
	if !s.live(e.Until) && !isWatermark(e.Payload) {
		return false, concernsKeys(e.Payload)
	}
	if concernsKeys(e.Payload) {
		e.Until = max(e.Until, keysUntil)
	}
	switch p := e.Payload.(type) {
	case events.TokenRevoked:
		changed = s.applyRevoked(p, bucketOf(e.Until))
	case events.RoleChanged:
		changed = s.applyRole(p, bucketOf(e.Until))
	case events.APIKeyRotated:
		changed = s.applyKey(p, e.At, bucketOf(e.Until))
	}
	return changed, false
}

// isWatermark: they are never forgotten, so there is no question of until.
func isWatermark(p events.Payload) bool {
	revoked, ok := p.(events.TokenRevoked)
	return ok && revoked.Before > 0
}

func concernsKeys(p events.Payload) bool {
	switch p := p.(type) {
	case events.TokenRevoked:
		return p.Keys
	case events.RoleChanged, events.APIKeyRotated:
		return true
	}
	return false
}

// live reports whether an event with this until can still concern anything.
func (s *Set) live(until int64) bool { return until > s.horizon.Load() }

func (s *Set) applyRevoked(p events.TokenRevoked, until bucket) bool {
	if p.Before > 0 {
		return s.raiseWatermarks(p)
	}
	changed := false
	if id, ok := parse(p.JTI); ok {
		changed = s.tokens.raise(id, until, struct{}{}) || changed
	}
	if id, ok := parse(p.SessionID); ok {
		changed = s.sessions.raise(id, until, struct{}{}) || changed
	}
	if id, ok := parse(p.UserID); ok {
		changed = s.cutOffs.raise(id, until, p.TV, p.Keys) || changed
	}
	for _, user := range p.UserIDs {
		if id, ok := parse(user); ok {
			changed = s.cutOffs.raise(id, until, p.TV, p.Keys) || changed
		}
	}
	return changed
}

func (s *Set) raiseWatermarks(p events.TokenRevoked) bool {
	changed := false
	if p.Before > s.tokensBefore.Load() {
		s.tokensBefore.Store(p.Before)
		changed = true
	}
	if p.Keys && p.Before > s.keysBefore.Load() {
		s.keysBefore.Store(p.Before)
		changed = true
	}
	return changed
}

func (s *Set) applyRole(p events.RoleChanged, until bucket) bool {
	id, ok := parse(p.UserID)
	if !ok {
		return false
	}
	return s.users.raise(id, until, &UserState{RV: p.RV, Roles: slices.Clone(p.Roles), Plan: p.Plan, Disabled: p.Disabled})
}

func (s *Set) applyKey(p events.APIKeyRotated, at int64, until bucket) bool {
	id, ok := parse(p.KeyID)
	if !ok {
		return false
	}
	changed := false
	if p.NotAfter != nil {
		end := *p.NotAfter
		if end <= at {
			end = deadAtOnce
		}
		changed = s.keyEnds.raise(id, until, endLevel(end))
	}
	if p.Suspended != nil {
		changed = s.suspensions.raise(id, until, suspensionLevel(p.KV, *p.Suspended)) || changed
	}
	return changed
}

// parse reads an id of a decoded event, where it is either absent or valid.
func parse(s string) (events.ID, bool) {
	if s == "" {
		return events.ID{}, false
	}
	id, err := events.ParseID(s)
	return id, err == nil
}

// Horizon returns the time, in microseconds, up to which events may have been forgotten, or not kept. exp MUST NOT be judged
// by a time more than KeyRetention before it, read after the set was asked: it is raised before anything is dropped.
func (s *Set) Horizon() int64 { return s.horizon.Load() }

// Forget drops what can't concern a living credential any more. Both times are in microseconds: past is the issuer's
// clock without its leaps, signed the last signed time of the issuer. It holds writers up for one part at a time, and
// readers not at all; once in some seconds is often enough.
func (s *Set) Forget(past, signed int64) {
	passed := passed(s.advance(min(past, signed)))
	for part := range partCount {
		s.forget(part, passed)
	}
}

// advance returns the horizon. From then on nothing is kept that would be due.
func (s *Set) advance(horizon int64) int64 {
	s.writing.Lock()
	defer s.writing.Unlock()
	horizon = max(s.horizon.Load(), horizon)
	s.horizon.Store(horizon)
	return horizon
}

func (s *Set) forget(part int, passed bucket) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.tokens.forget(part, passed)
	s.sessions.forget(part, passed)
	s.cutOffs.forget(part, passed)
	s.users.forget(part, passed)
	s.keyEnds.forget(part, passed)
	s.suspensions.forget(part, passed)
}
