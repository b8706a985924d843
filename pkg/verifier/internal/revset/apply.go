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
	if !s.live(e.Until) && !isWatermark(e.Payload) {
		return concernsKeys(e.Payload)
	}
	if concernsKeys(e.Payload) {
		e.Until = max(e.Until, keysUntil)
	}
	changed := false
	switch p := e.Payload.(type) {
	case events.TokenRevoked:
		changed = s.applyRevoked(p, e.Until)
	case events.RoleChanged:
		changed = s.applyRole(p, e.Until)
	case events.APIKeyRotated:
		changed = s.applyKey(p, e.At, e.Until)
	}
	if changed {
		s.version.Add(1) // after the content: a reader that sees the version sees the content
	}
	return false
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

func (s *Set) applyRevoked(p events.TokenRevoked, until int64) bool {
	if p.Before > 0 {
		return s.raiseWatermarks(p)
	}
	changed := false
	if id, ok := parse(p.JTI); ok {
		changed = s.shard(id).addToken(id, until) || changed
	}
	if id, ok := parse(p.SessionID); ok {
		changed = s.shard(id).addSession(id, until) || changed
	}
	if id, ok := parse(p.UserID); ok {
		changed = s.applyCutOff(id, p, until) || changed
	}
	for _, user := range p.UserIDs {
		if id, ok := parse(user); ok {
			changed = s.applyCutOff(id, p, until) || changed
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

func (s *Set) applyCutOff(id events.ID, p events.TokenRevoked, until int64) bool {
	return s.shard(id).changeUser(id, until, func(u *userEntry) bool {
		changed := false
		if p.TV > u.tv {
			u.tv, changed = p.TV, true
		}
		if p.Keys && p.TV > u.keysTV {
			u.keysTV, changed = p.TV, true
		}
		return changed
	})
}

func (s *Set) applyRole(p events.RoleChanged, until int64) bool {
	id, ok := parse(p.UserID)
	if !ok {
		return false
	}
	return s.shard(id).changeUser(id, until, func(u *userEntry) bool {
		if u.state != nil && u.state.RV >= p.RV {
			return false
		}
		u.state = &UserState{RV: p.RV, Roles: slices.Clone(p.Roles), Plan: p.Plan, Disabled: p.Disabled}
		return true
	})
}

func (s *Set) applyKey(p events.APIKeyRotated, at, until int64) bool {
	id, ok := parse(p.KeyID)
	if !ok {
		return false
	}
	return s.shard(id).changeKey(id, until, func(k *keyEntry) bool {
		changed := false
		if p.NotAfter != nil {
			end := *p.NotAfter
			if end <= at {
				end = deadAtOnce
			}
			if end < k.notAfter {
				k.notAfter, changed = end, true
			}
		}
		if p.Suspended != nil && laterSuspension(p.KV, *p.Suspended, k.kv) {
			changed = changed || p.KV != k.kv || !k.suspended
			k.kv, k.suspended = p.KV, *p.Suspended
		}
		return changed
	})
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
// clock without its leaps, signed the last signed time of the issuer. It looks at every entry that may be due, holding one
// shard's lock at a time; once in some seconds is often enough.
func (s *Set) Forget(past, signed int64) {
	s.writing.Lock()
	defer s.writing.Unlock()
	horizon := max(s.horizon.Load(), min(past, signed))
	s.horizon.Store(horizon)
	for i := range s.shards {
		s.shards[i].forget(horizon)
	}
}
