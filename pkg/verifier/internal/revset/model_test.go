package revset

import (
	"fmt"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"pgregory.net/rapid"
)

// model is the set as a list of everything that was ever applied: each question scans it all.
type model []events.Event

func (m model) token(c Credential) Verdict {
	v := Verdict{NotAfter: Never}
	for _, e := range m {
		p, ok := e.Payload.(events.TokenRevoked)
		if !ok {
			continue
		}
		users := append([]string{p.UserID}, p.UserIDs...)
		switch {
		case p.JTI != "" && p.JTI == c.JTI.String(), p.SessionID != "" && p.SessionID == c.SessionID.String():
			v.Revoked = true
		case p.Before > 0 && (!c.JTI.IsZero() && c.JTI.Millis() < p.Before || !c.SessionID.IsZero() && c.SessionID.Millis() < p.Before):
			v.Revoked = true
		}
		for _, u := range users {
			if u != "" && u == c.Subject.String() && p.TV > c.TV {
				v.Revoked = true
			}
		}
	}
	if v.Revoked || c.KeyID.IsZero() {
		return v
	}
	return m.key(Key{ID: c.KeyID, TV: Never})
}

func (m model) key(k Key) Verdict {
	v := Verdict{NotAfter: Never}
	if k.NotAfter != 0 {
		v.NotAfter = k.NotAfter
	}
	kv, suspended := k.KV, k.Suspended
	for _, e := range m {
		switch p := e.Payload.(type) {
		case events.TokenRevoked:
			users := append([]string{p.UserID}, p.UserIDs...)
			for _, u := range users {
				if p.Keys && u != "" && u == k.Owner.String() && p.TV > k.TV {
					v.Revoked = true
				}
			}
			if p.Keys && p.Before > k.ID.Millis() {
				v.Revoked = true
			}
		case events.APIKeyRotated:
			if p.KeyID != k.ID.String() {
				continue
			}
			if p.NotAfter != nil && *p.NotAfter <= e.At {
				v.Revoked, v.NotAfter = true, deadAtOnce
			} else if p.NotAfter != nil {
				v.NotAfter = min(v.NotAfter, *p.NotAfter)
			}
			if p.Suspended != nil && (p.KV > kv || p.KV == kv && *p.Suspended) {
				kv, suspended = p.KV, *p.Suspended
			}
		}
	}
	v.Revoked = v.Revoked || suspended
	return v
}

func (m model) user(id events.ID) (best UserState, found bool) {
	for _, e := range m {
		if p, ok := e.Payload.(events.RoleChanged); ok && p.UserID == id.String() && p.RV > best.RV {
			best, found = UserState{RV: p.RV, Roles: p.Roles, Plan: p.Plan, Disabled: p.Disabled}, true
		}
	}
	return best, found
}

// content is what a set keeps, and until when.
type content struct {
	Tokens, Sessions        map[events.ID]kept[struct{}]
	CutOffs, Ends, Suspends map[events.ID]kept[uint64]
	Users                   map[events.ID]kept[*UserState]
	Keys                    map[events.ID]int64 // the keys of which users are cut off, and where
}

type kept[V any] struct {
	Until bucket
	What  V
}

func contentOf(s *Set) content {
	c := content{
		Tokens: entriesOf(&s.tokens), Sessions: entriesOf(&s.sessions), CutOffs: entriesOf(&s.cutOffs.latest),
		Ends: entriesOf(&s.keyEnds), Suspends: entriesOf(&s.suspensions), Users: entriesOf(&s.users), Keys: map[events.ID]int64{},
	}
	for user := range c.CutOffs {
		c.Keys[user] = s.cutOffs.keys(user)
	}
	return c
}

func entriesOf[T, V any, P cell[T, V]](x *index[T, V, P]) map[events.ID]kept[V] {
	entries := map[events.ID]kept[V]{}
	for i := range x.parts {
		if t := x.parts[i].table.Load(); t != nil {
			for slot, until := range t.buckets {
				if until > 0 {
					entries[t.ids[slot]] = kept[V]{until, P(&t.cells[slot]).load()}
				}
			}
		}
	}
	return entries
}

// baseMillis is the time of the first of the pool's ids; they are a millisecond apart.
const baseMillis = 1_800_000_000_000

// poolID returns the n-th id of a small pool, so that events and credentials meet.
func poolID(n int) events.ID {
	ms := int64(baseMillis + n)
	id := events.ID{
		byte(ms >> 40), byte(ms >> 32), byte(ms >> 24), byte(ms >> 16), byte(ms >> 8), byte(ms),
		0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, byte(n),
	}
	return id
}

const (
	poolSize  = 6
	maxEvents = 30
)

func drawID(t *rapid.T, label string) events.ID {
	return poolID(rapid.IntRange(0, poolSize-1).Draw(t, label))
}

// drawPayload draws the n-th event; versions rise with n, as the issuer gives them.
func drawPayload(t *rapid.T, n int) events.Payload {
	version := int64(n+1) * 1000
	id := drawID(t, "id").String()
	keys := rapid.Bool().Draw(t, "keys")
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 0:
		return events.TokenRevoked{JTI: id}
	case 1:
		return events.TokenRevoked{SessionID: id}
	case 2:
		return events.TokenRevoked{UserID: id, TV: version, Keys: keys}
	case 3:
		return events.TokenRevoked{UserIDs: []string{id, drawID(t, "other").String()}, TV: version, Keys: keys}
	case 4:
		return events.TokenRevoked{Before: baseMillis + int64(rapid.IntRange(-2, poolSize+2).Draw(t, "before")), Keys: keys}
	case 5:
		return events.RoleChanged{UserID: id, RV: version, Roles: []string{fmt.Sprint("r", version)}, Plan: "free", Disabled: keys}
	case 6:
		end := int64(rapid.IntRange(1, 40).Draw(t, "not after"))
		return events.APIKeyRotated{KeyID: id, NotAfter: &end}
	default:
		return events.APIKeyRotated{KeyID: id, Suspended: &keys, KV: version}
	}
}

// drawEvents draws a history whose times are around 20, and whose until never falls, as the issuer keeps it, and is some
// buckets later.
func drawEvents(t *rapid.T) []events.Event {
	n := rapid.IntRange(0, maxEvents).Draw(t, "events")
	list := make([]events.Event, n)
	until := int64(100 * bucketWidth)
	for i := range list {
		until += int64(rapid.IntRange(0, 10*bucketWidth).Draw(t, "until"))
		at := int64(rapid.IntRange(1, 30).Draw(t, "at"))
		list[i] = events.Event{Seq: uint64(i + 1), At: at, Until: until, Payload: drawPayload(t, i)}
	}
	return list
}

func drawCredential(t *rapid.T) Credential {
	maybe := func(label string) events.ID {
		if rapid.IntRange(0, 3).Draw(t, label+" absent") == 0 {
			return events.ID{}
		}
		return drawID(t, label)
	}
	return Credential{
		JTI: maybe("jti"), SessionID: maybe("sid"), Subject: maybe("sub"), KeyID: maybe("key"),
		TV: int64(rapid.IntRange(0, maxEvents+1).Draw(t, "tv")) * 1000,
	}
}

func drawKey(t *rapid.T) Key {
	k := Key{
		ID: drawID(t, "key"), Owner: drawID(t, "owner"),
		TV:        int64(rapid.IntRange(0, maxEvents+1).Draw(t, "tv")) * 1000,
		KV:        int64(rapid.IntRange(0, maxEvents+1).Draw(t, "kv")) * 1000,
		Suspended: rapid.Bool().Draw(t, "suspended"),
		NotAfter:  int64(rapid.IntRange(0, 40).Draw(t, "not after")),
	}
	if k.KV == 0 {
		k.Suspended = false
	} else {
		k.KV += 500 // a version has one meaning, so it can't be that of an event that says otherwise
	}
	return k
}
