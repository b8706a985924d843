package auth

import (
	"context"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// issued is what an issuing call gave.
type issued struct {
	tokens  *Tokens
	keys    []IssuedKey
	derived *DerivedToken
}

// rests names what an issuing call rests on, and what can be ended: a user's password, session A, the token that the caller
// shows, and the key that is rotated.
type rests string

// issuing is a call that makes a credential.
type issuing struct {
	name    string
	by      string // the function of this package that runs its transaction
	prepare func(s *scene) error
	issue   func(ctx context.Context, s *scene) (issued, error)
	rests   []rests
	// makes names what it makes, as endings cover it.
	makes []string
	// within is a table that it writes to when it holds its locks.
	within string
	// beside: it locks none of the user's rows.
	beside bool
}

const (
	onPassword rests = "the password"
	onUser     rests = "the user"
	onA        rests = "session A"
	onToken    rests = "the token"
	onKey      rests = "the key"
	onGrant    rests = "a job grant"
	onOthers   rests = "another user's token"
)

func issuingCalls() []issuing {
	return []issuing{
		{name: "login", by: "openSession", rests: []rests{onUser, onPassword}, makes: []string{"token", "session"}, within: "refresh_tokens",
			issue: func(ctx context.Context, s *scene) (issued, error) {
				tokens, err := s.Login(ctx, Login{Username: s.user.Username, Password: password}, Client{})
				return issued{tokens: &tokens}, err
			}},
		{name: "refresh", by: "Refresh", rests: []rests{onUser, onA}, makes: []string{"token of A", "session A"}, within: "refresh_tokens", issue: refreshA},
		{name: "refresh repeated", by: "Refresh", rests: []rests{onUser, onA}, makes: []string{"token of A", "session A"}, within: "audit", issue: refreshA,
			prepare: func(s *scene) error {
				_, err := s.Refresh(s.t.Context(), s.a.RefreshToken, Client{})
				return err
			}},
		{name: "key created", by: "CreateAPIKey", rests: []rests{onUser, onA, onToken}, makes: []string{"key"}, within: "api_keys",
			issue: func(ctx context.Context, s *scene) (issued, error) {
				key, err := s.CreateAPIKey(ctx, s.caller, NewAPIKey{Name: "new", Mode: events.ModeLive})
				return issued{keys: []IssuedKey{key}}, err
			}},
		{name: "key rotated", by: "RotateAPIKey", rests: []rests{onUser, onA, onToken, onKey}, makes: []string{"key"}, within: "api_keys",
			issue: func(ctx context.Context, s *scene) (issued, error) {
				r, _, err := s.RotateAPIKey(ctx, s.caller, s.key.ID, time.Hour)
				return issued{keys: []IssuedKey{r.Key}}, err
			}},
		{name: "registration", by: "Register", makes: []string{"key of another"}, within: "api_keys", beside: true,
			issue: func(ctx context.Context, s *scene) (issued, error) {
				r, err := s.Register(ctx, Registration{Username: "new-" + s.user.Username, Password: password}, Client{})
				return issued{keys: r.Keys}, err
			}},
		{name: "key's own token", by: "ClientCredentials", rests: []rests{onUser, onKey}, makes: []string{"derived of the key"}, within: "audit", prepare: useKey,
			issue: func(ctx context.Context, s *scene) (issued, error) {
				token, err := s.ClientCredentials(ctx, s.client, TokenRequest{})
				return issued{derived: &token}, err
			}},
		{name: "token exchanged", by: "Exchange", rests: []rests{onUser, onA, onToken}, makes: []string{"derived of A"}, within: "audit", prepare: hire,
			issue: func(ctx context.Context, s *scene) (issued, error) { return s.exchanged(ctx, s.ofToken()) }},
		{name: "token exchanged by the user's key", by: "Exchange", rests: []rests{onUser, onKey, onOthers}, makes: []string{"derived of the key"}, within: "audit", prepare: useKey,
			issue: func(ctx context.Context, s *scene) (issued, error) { return s.exchanged(ctx, s.subject) }},
		{name: "job grant of a token", by: "Exchange", rests: []rests{onUser, onA, onToken}, makes: []string{"derived of A"}, within: "audit", prepare: hire,
			issue: func(ctx context.Context, s *scene) (issued, error) { return s.exchanged(ctx, s.wantGrant()) }},
		{name: "job grant of a key", by: "Exchange", rests: []rests{onUser, onKey}, makes: []string{"derived of the key"}, within: "audit", prepare: hire,
			issue: func(ctx context.Context, s *scene) (issued, error) { return s.exchanged(ctx, s.wantGrantOfKey()) }},
		{name: "job grant of a token used", by: "Exchange", rests: []rests{onUser, onA, onToken, onGrant}, makes: []string{"derived of A"}, within: "audit",
			prepare: func(s *scene) error { return s.hold(s.wantGrant()) },
			issue:   func(ctx context.Context, s *scene) (issued, error) { return s.exchanged(ctx, s.subject) }},
		{name: "job grant of a key used", by: "Exchange", rests: []rests{onUser, onKey, onGrant}, makes: []string{"derived of the key"}, within: "audit",
			prepare: func(s *scene) error { return s.hold(s.wantGrantOfKey()) },
			issue:   func(ctx context.Context, s *scene) (issued, error) { return s.exchanged(ctx, s.subject) }},
	}
}

func hire(s *scene) error {
	s.hire(s.t)
	return nil
}

// useKey makes the user's key the client, and somebody else's token what it may exchange.
func useKey(s *scene) error {
	s.client = s.authenticate(s.t, s.key.Key)
	s.subject = Exchange{SubjectToken: s.login(s.t, s.register(s.t, "other-"+s.user.Username).User.Username).AccessToken, SubjectType: TypeAccessToken}
	return nil
}

// hold has a worker hold a job grant.
func (s *scene) hold(x Exchange) error {
	s.hire(s.t)
	grant, err := s.Exchange(s.t.Context(), s.client, x)
	s.subject = use(grant)
	return err
}

func (s *scene) exchanged(ctx context.Context, x Exchange) (issued, error) {
	token, err := s.Exchange(ctx, s.client, x)
	return issued{derived: &token}, err
}

func refreshA(ctx context.Context, s *scene) (issued, error) {
	tokens, err := s.Refresh(ctx, s.a.RefreshToken, Client{})
	return issued{tokens: &tokens}, err
}

// endingCall is a call that ends or narrows trust.
type endingCall struct {
	name string
	end  func(ctx context.Context, s *scene) error
	// ends names what it ends of what issuing calls rest on, and covers what it ends of what they have made before.
	ends   []rests
	covers []string
	// byTime: what it covers depends on a time that was read before it began.
	byTime bool
	// beside: it locks none of the user's rows. watermarks: it keeps all issuing calls out.
	beside, watermarks bool
	// passes: it waits for those that were issuing, and then competes with the others.
	passes bool
}

func endingCalls() []endingCall {
	ofSessions := []string{"token", "session", "token of A", "session A", "derived of A"}
	everyToken := append([]string{"derived of the key"}, ofSessions...)
	everything := append([]string{"key"}, everyToken...)
	ofKey := []string{"derived of the key"}
	revoke := func(r func(s *scene) Revocation) func(ctx context.Context, s *scene) error {
		return func(ctx context.Context, s *scene) error {
			_, err := s.Revoke(ctx, s.root, r(s))
			return err
		}
	}
	ofA := []string{"token of A", "session A", "derived of A"}
	return []endingCall{
		{name: "disabled", ends: []rests{onUser, onA, onGrant}, covers: everything, end: func(ctx context.Context, s *scene) error {
			_, _, err := s.SetStatus(ctx, s.root, s.user.ID, true)
			return err
		}},
		{name: "deleted", ends: []rests{onUser, onA, onKey, onGrant}, covers: everything, end: func(ctx context.Context, s *scene) error {
			_, err := s.DeleteUser(ctx, s.root, s.user.ID)
			return err
		}},
		{name: "password changed", ends: []rests{onPassword, onA}, covers: ofSessions, end: func(ctx context.Context, s *scene) error {
			_, err := s.ChangePassword(ctx, s.callerB(), password, "another horse battery")
			return err
		}},
		{name: "roles taken", end: func(ctx context.Context, s *scene) error {
			_, _, err := s.SetRoles(ctx, s.root, s.user.ID, nil)
			return err
		}},
		{name: "user revoked", ends: []rests{onA, onGrant}, covers: everyToken, end: func(ctx context.Context, s *scene) error {
			_, err := s.RevokeUser(ctx, s.root, s.user.ID)
			return err
		}},
		{name: "logged out everywhere", ends: []rests{onA, onGrant}, covers: everyToken, end: func(ctx context.Context, s *scene) error {
			_, err := s.LogoutAll(ctx, s.callerB())
			return err
		}},
		{name: "logged out", ends: []rests{onA}, covers: ofA, end: func(ctx context.Context, s *scene) error {
			_, err := s.Logout(ctx, s.caller)
			return err
		}},
		{name: "session ended", ends: []rests{onA}, covers: ofA, end: func(ctx context.Context, s *scene) error {
			_, err := s.EndSession(ctx, s.callerB(), s.a.SessionID)
			return err
		}},
		{name: "refresh token revoked", ends: []rests{onA}, covers: ofA, end: revoke(func(s *scene) Revocation {
			return Revocation{Token: &s.a.RefreshToken}
		})},
		{name: "revoked by session", ends: []rests{onA}, covers: ofA, end: revoke(func(s *scene) Revocation {
			return Revocation{SessionID: &s.a.SessionID}
		})},
		{name: "revoked by jti", beside: true, ends: []rests{onToken}, covers: []string{"derived of A"}, end: revoke(func(s *scene) Revocation { return Revocation{JTI: &s.caller.TokenID} })},
		{name: "revoked by user", ends: []rests{onA, onKey, onGrant}, covers: everything, end: revoke(func(s *scene) Revocation {
			return Revocation{UserID: &s.user.ID}
		})},
		{name: "revoked by users", ends: []rests{onA, onKey, onGrant}, covers: everything, end: revoke(func(s *scene) Revocation {
			return Revocation{UserIDs: []string{s.user.ID}}
		})},
		{name: "revoked by role", watermarks: true, passes: true, ends: []rests{onA, onKey, onGrant, onOthers}, covers: append([]string{"key of another"}, everything...),
			end: revoke(func(*scene) Revocation { return Revocation{Role: ptr(RoleUser)} })},
		{name: "all revoked", beside: true, watermarks: true, ends: []rests{onA, onGrant, onOthers}, covers: everyToken, end: revoke(func(*scene) Revocation { return Revocation{All: true} })},
		{name: "all revoked with keys", beside: true, watermarks: true, ends: []rests{onA, onKey, onGrant, onOthers}, covers: append([]string{"key of another"}, everything...),
			end: revoke(func(*scene) Revocation { return Revocation{All: true, Keys: ptr(true)} })},
		{name: "revoked by time", beside: true, watermarks: true, ends: []rests{onA, onKey, onGrant, onOthers}, byTime: true, end: func(ctx context.Context, s *scene) error {
			var now int64
			if err := s.view(ctx, func(tx *store.Tx) error { now = tx.Now(); return nil }); err != nil {
				return err
			}
			_, err := s.Revoke(ctx, s.root, Revocation{IssuedBefore: ptr(fromMicros(now)), Keys: ptr(true)})
			return err
		}},
		{name: "signing key rotated in an emergency", beside: true, watermarks: true, ends: []rests{onToken, onGrant, onOthers}, covers: []string{"token", "token of A", "derived of A", "derived of the key"}, end: func(ctx context.Context, s *scene) error {
			_, _, err := s.RotateSigningKey(ctx, s.root, true)
			return err
		}},
		{name: "key suspended", ends: []rests{onKey}, covers: ofKey, end: func(ctx context.Context, s *scene) error {
			_, _, err := s.UpdateAPIKey(ctx, s.callerB(), s.key.ID, APIKeyPatch{Disabled: ptr(true)})
			return err
		}},
		{name: "key deleted", ends: []rests{onKey}, covers: ofKey, end: func(ctx context.Context, s *scene) error {
			_, err := s.DeleteAPIKey(ctx, s.callerB(), s.key.ID)
			return err
		}},
		{name: "key revoked", beside: true, ends: []rests{onKey}, covers: ofKey, end: revoke(func(s *scene) Revocation { return Revocation{APIKeyID: &s.key.ID} })},
	}
}

// callerB is the user by session B, whose token was verified before the race.
func (s *scene) callerB() Caller {
	claims, err := peekToken(s.b.AccessToken)
	if err != nil {
		s.t.Error(err)
	}
	c := s.caller
	c.SessionID, c.TokenID = s.b.SessionID, claims.ID
	own := c.question.Credentials[0]
	own.SessionID, own.JTI, own.TV = s.b.SessionID, claims.ID, claims.TV
	c.question.Credentials = []store.Credential{own}
	return c
}
