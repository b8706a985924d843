package revset

import (
	"github.com/tocsin-auth/tocsin/pkg/events"
)

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

// Set is the revocation set. The zero value isn't usable: call [New].
type Set struct{}

// New returns an empty set.
func New() *Set { return &Set{} }

// Apply takes one event, in any order and any number of times. Unknown events change nothing.
func (s *Set) Apply(e events.Event) {}

// Version changes with every change of the set; see the package doc for what a reader may conclude from it.
func (s *Set) Version() uint64 { return 0 }

// Token judges a token, or one parent of one.
func (s *Set) Token(c Credential) Verdict { return Verdict{} }

// Key judges an API key by the feed and its resolution, whichever knows the later version.
// A disabled owner is not judged here: see [Set.User].
func (s *Set) Key(k Key) Verdict { return Verdict{} }

// User returns the highest authorization state that the feed told about a user and that can still matter.
func (s *Set) User(id events.ID) (UserState, bool) { return UserState{}, false }

// Forget drops what can't concern a living credential any more; both times in microseconds.
func (s *Set) Forget(clock, signed int64) {}

// Len returns the number of entries.
func (s *Set) Len() int { return 0 }
