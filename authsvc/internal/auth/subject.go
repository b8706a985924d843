package auth

import (
	"cmp"
	"context"
	"slices"

	"github.com/tocsin-auth/tocsin/authsvc/internal/liveness"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// subject is on whose behalf a token is asked for, as far as the request shows it. Whether it lives, and what it may do, is
// read in the transaction that issues.
type subject struct {
	kind     TokenType
	userID   string
	mode     events.Mode
	question store.Question // about what has to live: its first credential and the parents of that
	claims   accessClaims   // of an access token or job grant
	key      string         // an API key, and its id
	keyID    string
}

// dead refuses a subject that isn't good for anything, or not any more. A worker has to tell a job whose grant is dead from
// a request that was wrong.
func (sub subject) dead() error {
	if sub.kind == TypeJobGrant {
		return ErrInvalidGrant
	}
	return errNoSubject
}

var errNoSubject = invalid("subject_token", "is not a living one of its type that can be exchanged")

// subjectOf reads what a request shows. The errors are [ErrInvalidRequest], [ErrInvalidGrant] and [ErrUnavailable].
func (s *Service) subjectOf(ctx context.Context, c Caller, x Exchange) (subject, error) {
	sub, err := subject{kind: x.SubjectType, mode: c.Mode}, error(nil)
	switch x.SubjectType {
	case TypeUserID:
		sub.userID, err = x.SubjectToken, checkID("subject_token", x.SubjectToken)
	case TypeAPIKey:
		err = s.showKey(ctx, &sub, x.SubjectToken)
	default:
		err = s.showToken(ctx, &sub, x.SubjectToken)
	}
	if err == errNotAlive {
		return sub, sub.dead()
	}
	switch {
	case err != nil:
		return sub, err
	case sub.kind == TypeJobGrant && sub.claims.JobID != x.JobID:
		return sub, invalid("job_id", "is not the one that the job grant is for")
	case sub.mode != c.Mode:
		return sub, invalid("subject_token", "is of the other mode than the client's key: live and test don't mix")
	}
	return sub, nil
}

func (s *Service) showKey(ctx context.Context, sub *subject, key string) error {
	found, user, err := s.findKey(ctx, liveness.Callers, key)
	if err != nil {
		return err
	}
	s.cfg.Used(found.ID)
	sub.question, err = keyQuestion(key)
	sub.key, sub.keyID, sub.userID, sub.mode = key, found.ID, user.ID, events.Mode(found.Mode)
	return err
}

// showToken takes an access token of a login, or a job grant. A token that was derived itself is no subject: there are no
// chains.
func (s *Service) showToken(ctx context.Context, sub *subject, token string) error {
	if saysJobGrant(token) != (sub.kind == TypeJobGrant) {
		return errNoSubject
	}
	found, err := s.verifyToken(ctx, token)
	if err != nil {
		return err // of a grant, too: its signing key may have been dropped
	}
	c := found.claims
	if c.Audience != s.cfg.Audience || c.derived() != c.isJobGrant() {
		return errNoSubject
	}
	sub.question, sub.claims, sub.userID, sub.mode = found.question, c, c.Subject, c.Mode
	return nil
}

// standing is what a subject is found to be in the transaction that issues for it.
type standing struct {
	user  store.User
	roles []string
	// parents are what ends whatever is derived.
	parents []events.Parent
	// ends is when the subject ends by itself, in microseconds; lasts is the same without the limits of a use: the exp of a
	// token, and a session's idleness.
	ends, lasts int64
}

// judge finds out whether a subject lives. What it rests on MUST be locked.
func (w *work) judge(ctx context.Context, sub subject, user store.User) (standing, error) {
	st := standing{user: user, roles: user.Roles, ends: never, lasts: never}
	if user.ID == "" || user.Disabled {
		return st, sub.dead()
	}
	if sub.kind == TypeUserID {
		if slices.Contains(user.Roles, RoleAdmin) {
			return st, sub.dead() // says no more than of a user who doesn't exist
		}
		return st, nil
	}
	if sub.kind == TypeJobGrant {
		if spent, err := w.GrantSpent(ctx, sub.claims.ID); err != nil || spent {
			return st, cmp.Or(err, sub.dead())
		}
	}
	state, err := w.Ask(ctx, sub.question)
	if err != nil {
		return st, err
	}
	if sub.kind == TypeAPIKey {
		err = st.restOnKey(sub, state)
	} else {
		err = st.restOnToken(sub, state)
	}
	if err != nil {
		return st, sub.dead()
	}
	st.bound(state)
	return st, nil
}

func (st *standing) restOnKey(sub subject, state store.State) error {
	key, _, err := livingKey(sub.key, state)
	st.roles = narrowed(st.user.Roles, key.Scopes)
	st.parents = []events.Parent{{Subject: st.user.ID, TV: st.user.TV, KeyID: sub.keyID}}
	return err
}

func (st *standing) restOnToken(sub subject, state store.State) error {
	found := foundToken{claims: sub.claims}
	if err := found.lives(state); err != nil {
		return err
	}
	c := sub.claims
	st.roles = found.roles()
	st.parents = append([]events.Parent{{JTI: c.ID, SessionID: c.SessionID, Subject: c.Subject, TV: c.TV}}, c.Parents...)
	st.ends = c.Expires * 1e6
	return nil
}

// bound takes in when what the subject rests on ends by itself.
func (st *standing) bound(state store.State) {
	for _, c := range state.Credentials {
		if c.SessionID != "" {
			st.lasts = min(st.lasts, c.Session.ExpiresAt)
			st.ends = min(st.ends, c.Session.ExpiresAt, c.Session.IdleExpiresAt)
		}
		if c.Key.NotAfter != nil {
			st.lasts, st.ends = min(st.lasts, *c.Key.NotAfter), min(st.ends, *c.Key.NotAfter)
		}
	}
}

// footing are the rows that a token rests on.
type footing struct{ users, sessions, keys, tokens []string }

// footing are the rows that a subject and the client's key rest on.
func (sub subject) footing(c Caller) footing {
	f := footing{users: []string{c.UserID, sub.userID}, keys: []string{c.KeyID, sub.keyID}}
	for _, credential := range sub.question.Credentials {
		f.users = append(f.users, credential.Subject)
		f.sessions = append(f.sessions, credential.SessionID)
		f.keys = append(f.keys, credential.KeyID)
		f.tokens = append(f.tokens, credential.JTI)
	}
	return f
}

// distinct returns the ids, without "", in ascending order.
func distinct(ids []string) []string {
	set := slices.Compact(slices.Sorted(slices.Values(ids)))
	return slices.DeleteFunc(set, func(id string) bool { return id == "" })
}
