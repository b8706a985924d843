package store

import (
	"context"
	"slices"
)

// Session is a row of sessions: one login, and the family of its refresh tokens.
type Session struct {
	ID            string
	UserID        string
	Mode          string
	AMR           []string
	AuthTime      int64
	TV            int64 // the user's at login
	CreatedAt     int64
	LastUsedAt    int64
	ExpiresAt     int64 // absolute limit
	IdleExpiresAt int64
	IP            string
	UserAgent     string
	EndedAt       *int64
}

// Alive reports whether the session may be used at a time. It is the one place that decides this; u MUST be the
// session's user and all three MUST come from one transaction.
func (s Session) Alive(u User, a Authority, now int64) bool {
	return s.UserID == u.ID && !u.Disabled && s.EndedAt == nil && s.TV >= u.TV &&
		now < s.ExpiresAt && now < s.IdleExpiresAt && !madeBefore(s.ID, a.TokensBefore)
}

const sessionColumns = `sessions.id, sessions.user_id, sessions.mode, sessions.amr, sessions.auth_time, sessions.tv,
	sessions.created_at, sessions.last_used_at, sessions.expires_at, sessions.idle_expires_at, sessions.ip,
	sessions.user_agent, sessions.ended_at`

func (s *Session) into() []any {
	return []any{&s.ID, &s.UserID, &s.Mode, scanList(&s.AMR), &s.AuthTime, &s.TV,
		&s.CreatedAt, &s.LastUsedAt, &s.ExpiresAt, &s.IdleExpiresAt, &s.IP, &s.UserAgent, &s.EndedAt}
}

func scanSession(s scanner) (v Session, err error) {
	err = s.Scan(v.into()...)
	return v, err
}

// InsertSession adds a session.
func (tx *Tx) InsertSession(ctx context.Context, s Session) error {
	return tx.later(ctx, `INSERT INTO sessions (id, user_id, mode, amr, auth_time, tv, created_at, last_used_at,
		expires_at, idle_expires_at, ip, user_agent) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		s.ID, s.UserID, s.Mode, listText(s.AMR), s.AuthTime, s.TV, s.CreatedAt, s.LastUsedAt,
		s.ExpiresAt, s.IdleExpiresAt, s.IP, s.UserAgent)
}

// Session reads a session, alive or not.
func (tx *Tx) Session(ctx context.Context, id string) (Session, error) {
	return scanSession(tx.queryRow(ctx, `SELECT `+sessionColumns+` FROM sessions WHERE id = $1`, id))
}

// LockSession reads a session, alive or not, and locks its row.
func (tx *Tx) LockSession(ctx context.Context, id string) (Session, error) {
	return scanSession(tx.queryRow(ctx, `SELECT `+sessionColumns+` FROM sessions WHERE id = $1`+tx.db.dialect.forUpdate, id))
}

// LockSessions locks the sessions that exist among ids, which MUST be in ascending order. The locks are held when the next statement
// begins that reads something.
func (tx *Tx) LockSessions(ctx context.Context, sorted []string) error {
	if tx.db.dialect.forUpdate == "" {
		return tx.failed
	}
	for chunk := range slices.Chunk(sorted, maxParameters) {
		if err := tx.later(ctx, tx.listed(`SELECT id FROM sessions WHERE`, len(chunk)), anys(chunk)...); err != nil {
			return err
		}
	}
	return tx.failed
}

// LockToken locks an access token, which has no row of its own, by its jti: whoever revokes it and whoever makes something
// that rests on it exclude each other. The lock is held when the next statement begins that reads something. Whoever revokes it MUST NOT wait
// for another lock after this one.
func (tx *Tx) LockToken(ctx context.Context, jti string) error {
	if tx.db.dialect.lockToken == "" {
		return nil
	}
	return tx.later(ctx, tx.db.dialect.lockToken, jti)
}

// SessionWithUser reads a session, alive or not, with its user and the bounds that concern both, in one query.
func (tx *Tx) SessionWithUser(ctx context.Context, id string) (Session, User, Authority, error) {
	var s Session
	var u User
	var a Authority
	err := tx.queryRow(ctx, `SELECT `+sessionColumns+`, `+userColumns+`, `+authorityColumns+`
		FROM sessions JOIN users ON users.id = sessions.user_id CROSS JOIN authority WHERE sessions.id = $1`, id).
		Scan(append(append(s.into(), u.into()...), a.into()...)...)
	if err == nil {
		tx.keySet = &a.KeySetVersion
	}
	return s, u, a, err
}

const sessionsOf = `SELECT ` + sessionColumns + ` FROM sessions WHERE user_id = $1 AND ended_at IS NULL ORDER BY id DESC`

// SessionsOf reads the sessions of a user that haven't ended, newest first. Some may be dead for other reasons:
// see [Session.Alive].
func (tx *Tx) SessionsOf(ctx context.Context, userID string) ([]Session, error) {
	return queryAll(ctx, tx, scanSession, sessionsOf, userID)
}

const countSessionsOf = `SELECT count(*) FROM
	(SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL ORDER BY id DESC LIMIT $2) AS living`

// CountSessionsOf counts, up to a limit, the sessions of a user that haven't ended: no fewer than are alive.
func (tx *Tx) CountSessionsOf(ctx context.Context, userID string, limit int) (n int, err error) {
	err = tx.queryRow(ctx, countSessionsOf, userID, limit).Scan(&n)
	return n, err
}

// AddressesOf reads from where the sessions of a user that aren't pruned yet were used last, at most 1000 addresses.
func (tx *Tx) AddressesOf(ctx context.Context, username string) ([]string, error) {
	scan := func(s scanner) (ip string, err error) {
		err = s.Scan(&ip)
		return ip, err
	}
	return queryAll(ctx, tx, scan, `SELECT DISTINCT sessions.ip FROM sessions JOIN users ON users.id = sessions.user_id
		WHERE users.username = $1 LIMIT 1000`, username)
}

// EndSession ends a session and reports whether it hadn't ended before.
func (tx *Tx) EndSession(ctx context.Context, id string) (bool, error) {
	n, err := tx.exec(ctx, `UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL`, id, tx.Now())
	return n > 0, err
}

// TouchSession records a use and moves the idle limit. The session MUST be locked.
func (tx *Tx) TouchSession(ctx context.Context, id string, idleExpiresAt int64, ip, userAgent string) error {
	return tx.later(ctx, `UPDATE sessions SET last_used_at = $2, idle_expires_at = $3, ip = $4, user_agent = $5
		WHERE id = $1`, id, tx.Now(), idleExpiresAt, ip, userAgent)
}

// deadSince is when a session ended or went idle for too long, which is never later than its absolute limit. The index
// sessions_dead is over this very expression.
const deadSince = `(CASE WHEN ended_at < idle_expires_at THEN ended_at ELSE idle_expires_at END)`

const pruneSessions = `DELETE FROM sessions WHERE id IN (SELECT id FROM sessions
	WHERE ` + deadSince + ` < $1 ORDER BY ` + deadSince + ` LIMIT $2)`

// PruneSessions deletes at most limit sessions that ended or expired before a time, with their refresh tokens, and
// returns how many. A pruned session's refresh tokens are unknown afterwards, which is no less dead.
func (tx *Tx) PruneSessions(ctx context.Context, before int64, limit int) (int64, error) {
	return tx.exec(ctx, pruneSessions, before, limit)
}

// RefreshToken is a row of refresh_tokens. The token itself is nowhere in the database.
type RefreshToken struct {
	Hash       []byte // SHA-256
	SessionID  string
	Generation int64
	CreatedAt  int64
	UsedAt     *int64
}

const refreshColumns = `refresh_tokens.hash, refresh_tokens.session_id, refresh_tokens.generation, refresh_tokens.created_at,
	refresh_tokens.used_at`

func (r *RefreshToken) into() []any {
	return []any{&r.Hash, &r.SessionID, &r.Generation, &r.CreatedAt, &r.UsedAt}
}

// InsertRefreshToken adds a refresh token.
func (tx *Tx) InsertRefreshToken(ctx context.Context, r RefreshToken) error {
	return tx.later(ctx, `INSERT INTO refresh_tokens (hash, session_id, generation, created_at) VALUES ($1, $2, $3, $4)`,
		r.Hash, r.SessionID, r.Generation, r.CreatedAt)
}

// RefreshToken reads a refresh token by its hash.
func (tx *Tx) RefreshToken(ctx context.Context, hash []byte) (RefreshToken, error) {
	var r RefreshToken
	err := tx.queryRow(ctx, `SELECT `+refreshColumns+` FROM refresh_tokens WHERE hash = $1`, hash).Scan(r.into()...)
	return r, err
}

// LockFamily reads a refresh token by its hash, with its session and that one's user, and locks all three, the user first.
// Each is as its last change left it, also one that the lock was waited for.
func (tx *Tx) LockFamily(ctx context.Context, hash []byte) (r RefreshToken, s Session, u User, err error) {
	err = tx.queryRow(ctx, lockFamily+tx.db.dialect.forUpdateFamily, hash).Scan(slices.Concat(r.into(), s.into(), u.into())...)
	return r, s, u, err
}

const lockFamily = `SELECT ` + refreshColumns + `, ` + sessionColumns + `, ` + userColumns + `
	FROM users JOIN sessions ON sessions.user_id = users.id JOIN refresh_tokens ON refresh_tokens.session_id = sessions.id
	WHERE refresh_tokens.hash = $1`

// UseRefreshToken marks the first use of a refresh token, which MUST be locked and unused.
func (tx *Tx) UseRefreshToken(ctx context.Context, hash []byte) error {
	return tx.later(ctx, `UPDATE refresh_tokens SET used_at = $2 WHERE hash = $1 AND used_at IS NULL`, hash, tx.Now())
}
