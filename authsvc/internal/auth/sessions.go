package auth

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Session is one login, as its user sees it.
type Session struct {
	ID         string      `json:"id"`
	Mode       events.Mode `json:"mode"`
	CreatedAt  time.Time   `json:"created_at"`
	LastUsedAt time.Time   `json:"last_used_at"`
	ExpiresAt  time.Time   `json:"expires_at"`
	IP         string      `json:"ip"`
	UserAgent  string      `json:"user_agent"`
	Current    bool        `json:"current"`
}

// Sessions lists the caller's living sessions, newest first.
func (s *Service) Sessions(ctx context.Context, c Caller, p PageRequest) (Page[Session], error) {
	p, err := p.check()
	if err != nil {
		return Page[Session]{}, err
	}
	var rows []store.Session
	err = s.view(ctx, func(tx *store.Tx) error {
		user, err := self(ctx, tx, c)
		if err != nil {
			return err
		}
		rows, err = livingSessions(ctx, tx, user, tx.Now())
		return err
	})
	id := func(row store.Session) string { return row.ID }
	show := func(row store.Session) Session { return showSession(row, c.SessionID) }
	return pageOf(descending(rows, p.Cursor, id), p.Limit, show, id), err
}

func showSession(row store.Session, current string) Session {
	return Session{ID: row.ID, Mode: events.Mode(row.Mode), CreatedAt: fromMicros(row.CreatedAt),
		LastUsedAt: fromMicros(row.LastUsedAt), ExpiresAt: fromMicros(min(row.ExpiresAt, row.IdleExpiresAt)),
		IP: row.IP, UserAgent: row.UserAgent, Current: row.ID == current}
}

// livingSessions reads the sessions of a user that can be used at a time, newest first.
func livingSessions(ctx context.Context, tx *store.Tx, user store.User, at int64) ([]store.Session, error) {
	authority, err := tx.Authority(ctx)
	if err != nil {
		return nil, err
	}
	all, err := tx.SessionsOf(ctx, user.ID)
	alive := all[:0]
	for _, session := range all {
		if session.Alive(user, authority, at) {
			alive = append(alive, session)
		}
	}
	return alive, err
}

// EndSession ends one of the caller's sessions. Other people's are [ErrNotFound].
func (s *Service) EndSession(ctx context.Context, c Caller, id string) (Change, error) {
	if err := checkID("id", id); err != nil {
		return Change{}, err
	}
	return s.changeBriefly(ctx, c, func(w *work) error {
		if _, err := self(ctx, w.Tx, c); err != nil {
			return err
		}
		session, err := w.LockSession(ctx, id)
		if err != nil {
			return err
		}
		if session.UserID != c.UserID {
			return ErrNotFound
		}
		return w.endSession(ctx, id, deed{action: "session.ended"})
	})
}

// Logout ends the caller's session.
func (s *Service) Logout(ctx context.Context, c Caller) (Change, error) {
	if c.Method != MethodBearer {
		return Change{}, ErrForbidden
	}
	return s.changeBriefly(ctx, c, func(w *work) error {
		return w.endSession(ctx, c.SessionID, deed{action: "session.logout"})
	})
}

// LogoutAll ends every session and token of the caller; API keys live on.
func (s *Service) LogoutAll(ctx context.Context, c Caller) (Change, error) {
	return s.changeBriefly(ctx, c, func(w *work) error {
		user, err := w.lockSelf(ctx)
		if err != nil {
			return err
		}
		return w.revokeUser(ctx, user, false, deed{action: "user.logout_all"})
	})
}

// revokeUser kills a user's sessions and tokens, and with keys the API keys. The user MUST be locked.
func (w *work) revokeUser(ctx context.Context, user store.User, keys bool, d deed) error {
	tv, err := w.BumpTokens(ctx, []store.User{user}, keys)
	if err != nil {
		return err
	}
	d.target = userTarget(user.ID)
	d.events = append(d.events, events.TokenRevoked{UserID: user.ID, TV: tv, Keys: keys})
	return w.record(ctx, d)
}

// MaxSessions is how many living sessions a user may have. One more login ends the one that was unused for the longest.
const MaxSessions = 200

// makeRoom ends what a user has too many of, so that one more session may begin. The user MUST be locked.
func (w *work) makeRoom(ctx context.Context, user store.User) error {
	if n, err := w.CountSessionsOf(ctx, user.ID, MaxSessions); err != nil || n < MaxSessions {
		return err
	}
	alive, err := livingSessions(ctx, w.Tx, user, w.Now())
	if err != nil || len(alive) < MaxSessions {
		return err
	}
	slices.SortStableFunc(alive, func(a, b store.Session) int { return cmp.Compare(b.LastUsedAt, a.LastUsedAt) })
	for _, session := range alive[MaxSessions-1:] {
		err := w.endSession(ctx, session.ID, deed{action: "session.displaced", reason: "too many sessions"})
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	// Dead sessions and keys stay for a while, for those who look into a theft.
	pruneSessionsAfter = 7 * 24 * time.Hour
	pruneKeysAfter     = 90 * 24 * time.Hour
	// Ended counts stay a little longer than the clock may step back, and so do the instances that were counted, after they asked last.
	pruneQuotasAfter = time.Hour
	// So do spent job grants, after they have ended by themselves.
	pruneGrantsAfter = time.Hour
	pruneBatch       = 500
	// pruneRounds bounds one call, so that its caller's other duties don't wait: tens of thousands of rows, a second or two.
	pruneRounds = 100
)

// Prune deletes sessions, with their refresh tokens, and keys that died of themselves a while ago: forgotten ones are
// refused just the same. It deletes what was counted in windows that have ended, and which job grants were
// spent that have ended. Call it now and then; what is too much for one call is left
// for the next.
func (s *Service) Prune(ctx context.Context) error { return s.prune(ctx, pruneRounds) }

func (s *Service) prune(ctx context.Context, rounds int) error {
	for range rounds {
		var sessions, keys, quotas, grants int64
		err := s.db.Update(ctx, func(tx *store.Tx) (err error) {
			if sessions, err = tx.PruneSessions(ctx, tx.Now()-pruneSessionsAfter.Microseconds(), pruneBatch); err != nil {
				return err
			}
			if keys, err = tx.PruneAPIKeys(ctx, tx.Now()-pruneKeysAfter.Microseconds(), pruneBatch); err != nil {
				return err
			}
			if quotas, err = tx.PruneQuotas(ctx, tx.Now()-pruneQuotasAfter.Microseconds(), pruneBatch); err != nil {
				return err
			}
			grants, err = tx.PruneSpentGrants(ctx, tx.Now()-pruneGrantsAfter.Microseconds(), pruneBatch)
			return err
		})
		if err != nil || max(sessions, keys, quotas, grants) < pruneBatch {
			return refusal(err)
		}
	}
	return nil
}
