package verifier

import (
	"slices"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/defect"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
)

// standing is where a holding stands by the set and the key set.
type standing struct {
	refusal   error // nil: alive
	principal *Principal
	expires   int64 // microseconds: its own end, or that of an API key which it rests on
}

// sight is a standing at one version of both. It never changes.
type sight struct {
	version uint64
	keys    *link.TokenKeys
	standing
}

// look asks the set and the key set about a holding. While neither has changed since it last asked, the answer is the
// same: that is the only short cut. The version is read before the content, so an answer is never newer than its stamp.
func (v *Verifier) look(h *holding, k known) standing {
	if h.cleanAt(k) {
		return h.clear()
	}
	if s := h.seen.Load(); s != nil && s.version == k.version && s.keys == k.keys {
		return s.standing
	}
	return v.lookAnew(h, k.version, k.keys)
}

// cleanAt reports whether it is known already that there is nothing against a holding. It says the same whenever it is asked.
func (h *holding) cleanAt(k known) bool {
	return h.clean.Load() == k.version && h.cleanFor.Load() == k.keys
}

// clear is where a holding stands that there is nothing against.
func (h *holding) clear() standing { return standing{nil, &h.principal, h.expires} }

// lookAnew asks. What is found is put down for the next time: as a stamp, if it is nothing.
func (v *Verifier) lookAnew(h *holding, version uint64, keys *link.TokenKeys) standing {
	s := h.clear()
	s.refusal = v.stand(h, keys, &s)
	if defect.Stamp {
		defect.Meanwhile()
		version = v.set.Version()
	}
	if s == h.clear() {
		h.clean.Store(version)
		h.cleanFor.Store(keys)
	} else {
		h.seen.Store(&sight{version, keys, s})
	}
	return s
}

// stand fills a standing, and returns why the credential is dead or strange here, if it is.
func (v *Verifier) stand(h *holding, keys *link.TokenKeys, s *standing) error {
	if _, ok := keys.ByKID[h.kid]; !ok && !h.isKey {
		return errUnknownKid
	}
	for i := range h.chain {
		if !s.survives(v.set.Token(h.chain[i])) && (i == 0 || !defect.Parents) {
			return ErrRevoked
		}
	}
	if h.isKey && !s.survives(v.set.Key(*h.key)) {
		return ErrRevoked
	}
	if v.parentDisabled(h) {
		return ErrRevoked
	}
	disabled := h.disabled
	if u, ok := v.set.User(h.subject); ok && u.RV >= h.rv {
		s.principal, disabled = h.as(u.Roles, u.Plan), u.Disabled
	}
	s.principal = v.withinActor(s.principal)
	switch {
	case disabled:
		return ErrRevoked
	case h.principal.Mode != v.mode:
		return ErrWrongMode
	}
	return nil
}

// withinActor takes from a principal the roles that the feed says its actor hasn't any more.
func (v *Verifier) withinActor(p *Principal) *Principal {
	actor, err := events.ParseID(p.Actor)
	if err != nil {
		return p // nobody acts
	}
	now, known := v.set.User(actor)
	lost := func(role string) bool { return !slices.Contains(now.Roles, role) }
	if !known || !slices.ContainsFunc(p.Roles, lost) {
		return p
	}
	narrowed := *p
	narrowed.Roles = slices.DeleteFunc(slices.Clone(p.Roles), lost)
	return &narrowed
}

func (s *standing) survives(verdict revset.Verdict) bool {
	s.expires = min(s.expires, verdict.NotAfter)
	return !verdict.Revoked
}

// parentDisabled reports whether the user of a parent was disabled. The token's own user is judged with its versions.
func (v *Verifier) parentDisabled(h *holding) bool {
	for i := range h.chain {
		if parent := h.chain[i].Subject; parent != h.subject && parent != (events.ID{}) {
			if u, ok := v.set.User(parent); ok && u.Disabled {
				return true
			}
		}
	}
	return false
}
