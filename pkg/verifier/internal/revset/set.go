package revset

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Never is the time that doesn't come.
const Never = math.MaxInt64

// Credential is one credential as the set sees it: a token, or one parent of a derived token. Zero ids are absent.
type Credential struct {
	JTI, SessionID, Subject, KeyID events.ID
	// TV is the subject's token version when the token was issued. It counts only with Subject.
	TV int64
}

// Key is an API key as a resolution described it.
type Key struct {
	ID, Owner events.ID
	// TV is the owner's token version when the key was made.
	TV int64
	// Suspended was so at version KV.
	Suspended bool
	KV        int64
	// NotAfter in microseconds; 0 means that the key has no end of its own.
	NotAfter int64
}

// Verdict is what the set says. A credential is dead if Revoked, or when the time is NotAfter or later.
type Verdict struct {
	Revoked bool
	// NotAfter, in microseconds, is [Never] unless an API key that the credential rests on has an end.
	NotAfter int64
}

// UserState is the highest version of a user's authorization state that the feed told. MUST NOT be changed.
type UserState struct {
	RV       int64
	Roles    []string
	Plan     string
	Disabled bool
}

// Set is the revocation set. The zero value isn't usable: call [New]. All methods are safe for concurrent use.
type Set struct {
	version      atomic.Uint64
	tokensBefore atomic.Int64 // milliseconds
	keysBefore   atomic.Int64 // milliseconds
	horizon      atomic.Int64 // microseconds: what is not needed beyond it is forgotten
	writing      sync.Mutex   // held by Apply from the first content to the version, and by Forget for each part

	tokens, sessions endings
	cutOffs          cutOffs // of users
	users            states
	keyEnds          levels // see endLevel
	suspensions      levels // of keys; see suspensionLevel
}

// New returns an empty set.
func New() *Set {
	s := &Set{}
	s.version.Store(1) // the zero stamp of a cache entry never matches
	return s
}

// Version changes with every change of the set; see the package doc for what a reader may conclude from it.
func (s *Set) Version() uint64 { return s.version.Load() }

// Token judges a token, or one parent of one. A token is alive only if it and each of its parents are.
func (s *Set) Token(c Credential) Verdict {
	v := Verdict{NotAfter: Never}
	before := s.tokensBefore.Load()
	switch {
	case olderThan(c.JTI, before), olderThan(c.SessionID, before):
		v.Revoked = true
	case !c.JTI.IsZero() && s.tokens.has(c.JTI):
		v.Revoked = true
	case !c.SessionID.IsZero() && s.sessions.has(c.SessionID):
		v.Revoked = true
	case !c.Subject.IsZero() && s.cutOffs.tokens(c.Subject) > c.TV:
		v.Revoked = true
	case !c.KeyID.IsZero():
		return s.judgeKey(c.KeyID, 0, Never)
	}
	return v
}

// Key judges an API key by the feed and its resolution, whichever knows the later version.
// A disabled owner is not judged here: see [Set.User].
func (s *Set) Key(k Key) Verdict {
	end := int64(Never)
	if k.NotAfter != 0 {
		end = k.NotAfter
	}
	v := s.judgeKey(k.ID, suspensionLevel(k.KV, k.Suspended), end)
	if s.cutOffs.keys(k.Owner) > k.TV {
		v.Revoked = true
	}
	return v
}

// judgeKey takes what is known of a key besides the feed.
func (s *Set) judgeKey(id events.ID, suspension uint64, end int64) Verdict {
	told, _ := s.suspensions.find(id)
	ended, _ := s.keyEnds.find(id)
	_, suspended := split(max(suspension, told))
	v := Verdict{NotAfter: min(end, levelEnd(ended))}
	v.Revoked = suspended || v.NotAfter == deadAtOnce || olderThan(id, s.keysBefore.Load())
	return v
}

// olderThan holds for ids made before a watermark, and for ids that don't tell their time.
func olderThan(id events.ID, watermark int64) bool {
	return watermark != 0 && !id.IsZero() && (!id.IsV7() || id.Millis() < watermark)
}

// User returns the highest authorization state that the feed told about a user and that can still matter.
// A token or resolution with a higher RV knows better; one with the same or a lower RV doesn't.
func (s *Set) User(id events.ID) (UserState, bool) {
	state, known := s.users.find(id)
	if !known {
		return UserState{}, false
	}
	return *state, true
}

// Len returns the number of entries: ended tokens and sessions, users' cut-offs and users' states, ends and suspensions of keys.
func (s *Set) Len() int {
	return s.tokens.len() + s.sessions.len() + s.cutOffs.latest.len() + s.users.len() + s.keyEnds.len() + s.suspensions.len()
}
