package auth

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
)

// RevokeUser ends all sessions and tokens of a user, for admins; API keys live on.
func (s *Service) RevokeUser(ctx context.Context, c Caller, id string) (Change, error) {
	if err := checkID("id", id); err != nil {
		return Change{}, err
	}
	return s.change(ctx, c, func(w *work) error {
		if err := admin(ctx, w.Tx, c); err != nil {
			return err
		}
		user, err := w.LockUser(ctx, id)
		if err != nil {
			return err
		}
		return w.revokeUser(ctx, user, false, deed{action: "user.revoked"})
	})
}

// Revoke ends what the selector names, for admins. An unknown jti or token is accepted, as a restored database may have
// forgotten it; other unknown ids are [ErrNotFound].
func (s *Service) Revoke(ctx context.Context, c Caller, r Revocation) (Change, error) {
	if err := r.check(); err != nil {
		return Change{}, err
	}
	if err := s.RequireAdmin(c); err != nil {
		return Change{}, err
	}
	if r.Role != nil {
		// What a user has who is being registered with the role must die, too. Nobody else has to wait while a hundred
		// thousand users are written: who is registered from now on may have come later.
		if err := s.db.AwaitIssuers(ctx); err != nil {
			return Change{}, refusal(err)
		}
	}
	var wait int64 // microseconds
	done, err := s.change(ctx, c, func(w *work) (err error) {
		if r.IssuedBefore != nil || r.All {
			// Before all other locks, and before the time is read: what is issued while we wait here must die too.
			if _, err = w.LockAuthority(ctx); err != nil {
				return err
			}
		}
		if err = admin(ctx, w.Tx, c); err != nil {
			return err
		}
		wait, err = w.revoke(ctx, r)
		return err
	})
	if err == nil && wait > 0 {
		err = refusal(s.db.WaitUntil(ctx, wait))
	}
	return done, err
}

// revoke returns the time that the call must not return before, or 0.
func (w *work) revoke(ctx context.Context, r Revocation) (wait int64, err error) {
	d := deed{action: "revocation." + r.selectors()[0], reason: r.Reason}
	switch {
	case r.Token != nil:
		return 0, w.revokeSecret(ctx, *r.Token, d)
	case r.JTI != nil:
		return 0, w.revokeJTI(ctx, *r.JTI, d)
	case r.SessionID != nil:
		if _, err := w.LockSession(ctx, *r.SessionID); err != nil {
			return 0, err
		}
		return 0, w.endSession(ctx, *r.SessionID, d)
	case r.UserID != nil:
		user, err := w.LockUser(ctx, *r.UserID)
		if err != nil {
			return 0, err
		}
		return 0, w.revokeUser(ctx, user, true, d)
	case r.UserIDs != nil:
		return 0, w.revokeListed(ctx, r.UserIDs, d)
	case r.Role != nil:
		d.detail = map[string]any{"role": *r.Role}
		return 0, w.revokeRole(ctx, *r.Role, d)
	case r.APIKeyID != nil:
		return 0, w.revokeKey(ctx, *r.APIKeyID, d)
	}
	return w.revokeBefore(ctx, r, d)
}

func (w *work) revokeListed(ctx context.Context, ids []string, d deed) error {
	users, err := w.LockUsers(ctx, ids)
	if err != nil {
		return err
	}
	distinct := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		distinct[id] = struct{}{}
	}
	if len(users) < len(distinct) {
		return ErrNotFound
	}
	tv, err := w.BumpTokens(ctx, users, true)
	if err != nil {
		return err
	}
	found := make([]string, 0, len(users))
	for _, u := range users {
		found = append(found, u.ID)
	}
	return w.recordUsers(ctx, found, tv, d)
}

func (w *work) revokeRole(ctx context.Context, role string, d deed) error {
	ids, tv, err := w.BumpTokensByRole(ctx, role)
	if err != nil || len(ids) == 0 {
		return err
	}
	return w.recordUsers(ctx, ids, tv, d)
}

// recordUsers tells that all credentials of some users are dead, who share one new version.
func (w *work) recordUsers(ctx context.Context, ids []string, tv int64, d deed) error {
	d.target = targetUsers
	d.events = []events.Payload{events.TokenRevoked{UserIDs: ids, TV: tv, Keys: true}}
	return w.record(ctx, d)
}

// revokeJTI announces the death of one token. The event is also what the database itself knows of it.
func (w *work) revokeJTI(ctx context.Context, jti string, d deed) error {
	if err := w.LockToken(ctx, jti); err != nil {
		return err
	}
	d.target = jtiTarget(jti)
	switch _, err := w.LiveEvent(ctx, d.target, events.TypeTokenRevoked); {
	case err == nil:
		return w.nothingChanged(ctx, d.target, events.TypeTokenRevoked)
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	d.events = []events.Payload{events.TokenRevoked{JTI: jti}}
	return w.record(ctx, d)
}

// revokeSecret ends what a presented secret stands for: an access token, a refresh token's session, or an API key.
func (w *work) revokeSecret(ctx context.Context, secret string, d deed) error {
	if looksLikeRefreshToken(secret) {
		token, err := w.RefreshToken(ctx, hashSecret(secret))
		if err != nil {
			return unknownIsDone(err)
		}
		return w.endSession(ctx, token.SessionID, d)
	}
	if _, err := apikey.Parse(secret); err == nil {
		key, _, _, err := w.APIKeyWithUser(ctx, hashSecret(secret))
		if err != nil {
			return unknownIsDone(err)
		}
		return w.revokeKey(ctx, key.ID, d)
	}
	claims, err := peekToken(secret)
	if err != nil || checkID("", claims.ID) != nil {
		return invalid("token", "must be an access token, a refresh token or an API key")
	}
	return w.revokeJTI(ctx, claims.ID, d)
}

func unknownIsDone(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// revokeBefore kills everything that was issued before a time, rounded up to the millisecond that ids have. The
// authority row MUST be locked. When nothing changed, the newest event says at least as much.
func (w *work) revokeBefore(ctx context.Context, r Revocation, d deed) (wait int64, err error) {
	keys := r.Keys != nil && *r.Keys
	var before int64
	if r.All {
		if before, err = w.afterAllIssued(ctx); err != nil {
			return 0, err
		}
	} else {
		if r.IssuedBefore.UnixMicro() > w.Now() {
			return 0, invalid("issued_before", "must not be in the future")
		}
		before = (r.IssuedBefore.UnixMicro() + 999) / 1000
	}
	d.target = targetBefore
	d.detail = map[string]any{"before": fromMicros(before * 1000), "keys": keys}
	changed, err := w.RaiseBefore(ctx, before, keys)
	if err != nil {
		return 0, err
	}
	if !changed {
		return 0, w.nothingChanged(ctx, d.target, events.TypeTokenRevoked)
	}
	d.events = []events.Payload{events.TokenRevoked{Before: before, Keys: keys}}
	// Not longer than this millisecond, even when before is later: what is issued from now on is no older than before.
	return min(before*1000, (w.Now()/1000+1)*1000), w.record(ctx, d)
}

// afterAllIssued returns a time in milliseconds that no id of a credential has reached. That is the next one, unless the
// clock was put back, or another machine's clock became the database's: then ids are in use that are yet to come.
// Issuers MUST be kept out.
func (w *work) afterAllIssued(ctx context.Context) (int64, error) {
	now := w.Now() / 1000
	newest, err := w.NewestIssue(ctx)
	if newest > now {
		// A repeated refresh issues too, and leaves no trace of when.
		return newest + RefreshGrace.Milliseconds() + 1, err
	}
	return now + 1, err
}

// RevokeToken is RFC 7009: it ends an access token or job grant of ours, the session of a refresh token, or an API key. Tokens that
// are unknown or dead for good are no error. What is only suspended, or has expired while job grants may rest on it, is revoked all the
// same. Holding the token is the right to revoke it, whosever it is: the audit log names the caller as the actor, and the token's user
// beside it.
func (s *Service) RevokeToken(ctx context.Context, c Caller, token string) (Change, error) {
	return s.changeBriefly(ctx, c, func(w *work) error {
		err := s.revokeHeld(ctx, w, token)
		if errors.Is(err, errNotAlive) {
			return nil
		}
		return unknownIsDone(err)
	})
}

func (s *Service) revokeHeld(ctx context.Context, w *work, token string) error {
	held := func(user string) deed {
		return deed{action: "token.revoked", reason: "by its holder", detail: map[string]any{"user": user, "client_id": w.by.KeyID}}
	}
	if looksLikeRefreshToken(token) {
		f, err := w.lockFamily(ctx, token)
		if err != nil {
			return err
		}
		return w.endSession(ctx, f.session.ID, held(f.user.ID))
	}
	if _, err := apikey.Parse(token); err == nil {
		key, user, _, err := w.APIKeyWithUser(ctx, hashSecret(token))
		if err != nil {
			return err
		}
		return w.revokeKey(ctx, key.ID, held(user.ID))
	}
	claims, err := s.revocable(ctx, w.Tx, token)
	if err != nil {
		return err
	}
	return w.revokeJTI(ctx, claims.ID, held(claims.Subject))
}

// revocable returns the claims of a token of ours that may live, or live again, or that a living job grant may rest on. The error is
// errNotAlive for others.
func (s *Service) revocable(ctx context.Context, tx *store.Tx, token string) (accessClaims, error) {
	found, err := s.readSigned(ctx, tx, token)
	if err != nil {
		return accessClaims{}, err
	}
	kept := JobGrantTTL + expiryMargin
	if found.claims.Expires*1e6 <= tx.Now()-kept.Microseconds() {
		return accessClaims{}, errNotAlive
	}
	state, err := tx.Ask(ctx, found.question)
	if err != nil {
		return accessClaims{}, err
	}
	own := state.Credentials[0]
	sessionEnded := own.SessionID != "" && (own.Session.ID == "" || own.Session.EndedAt != nil)
	if own.User.ID == "" || own.TV < own.User.TV || sessionEnded {
		return accessClaims{}, errNotAlive
	}
	return found.claims, nil
}

// RevocationEntry is one event that still matters to verifiers.
type RevocationEntry struct {
	ID        string          `json:"event_id"`
	Type      string          `json:"type"`
	Seq       *uint64         `json:"seq"`
	CreatedAt time.Time       `json:"created_at"`
	Until     *time.Time      `json:"until,omitempty"`
	Actor     string          `json:"actor"`
	Reason    string          `json:"reason,omitempty"`
	Published bool            `json:"published"`
	Content   json.RawMessage `json:"content"`
}

// Revocations lists live revocations for admins, newest first.
func (s *Service) Revocations(ctx context.Context, c Caller, p PageRequest) (Page[RevocationEntry], error) {
	p, err := p.check()
	if err != nil {
		return Page[RevocationEntry]{}, err
	}
	var rows []store.Event
	err = s.view(ctx, func(tx *store.Tx) (err error) {
		if err = admin(ctx, tx, c); err == nil {
			rows, err = tx.LiveRevocations(ctx, p.Cursor, p.Limit+1)
		}
		return err
	})
	return pageOf(rows, p.Limit, showRevocation, func(e store.Event) string { return e.ID }), err
}

func showRevocation(e store.Event) RevocationEntry {
	entry := RevocationEntry{ID: e.ID, Type: string(e.Type), CreatedAt: fromMicros(e.CreatedAt), Actor: e.Actor,
		Reason: e.Reason, Published: e.PublishedAt > 0, Content: json.RawMessage(e.Payload)}
	if e.Seq > 0 {
		entry.Seq = &e.Seq
		entry.Until = optionalTime(&e.Until)
	}
	return entry
}
