package store

import (
	"context"
	"fmt"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Authority holds the bounds that concern every credential.
type Authority struct {
	// TokensBefore and KeysBefore are milliseconds: sessions and tokens, or API keys, whose id is older are dead.
	TokensBefore, KeysBefore int64
	// KeySetVersion is raised by every change of the token keys.
	KeySetVersion int64
	// MaxAccessTTL is the greatest life of an access token that any replica ever issued with, in microseconds.
	MaxAccessTTL int64
	// ExpCeiling is at least the greatest exp ever issued, in microseconds.
	ExpCeiling int64
}

const authorityColumns = `authority.tokens_before, authority.keys_before, authority.key_set_version,
	authority.max_access_ttl, authority.exp_ceiling`

func (a *Authority) into() []any {
	return []any{&a.TokensBefore, &a.KeysBefore, &a.KeySetVersion, &a.MaxAccessTTL, &a.ExpCeiling}
}

// MaxGrantLife is the longest life of a job grant. This database alone judges those, so no event has to live for as long.
const MaxGrantLife = 24 * time.Hour

// ceilingStep is how far ExpCeiling is raised beyond need, so that it is seldom written.
const ceilingStep = 10 * time.Minute

// Issue runs fn as [DB.UpdateBriefly] does, in a transaction that may create credentials: no revocation of everything commits
// between its ids and its commit, and the database knows that tokens living up to life from [Tx.Now] may exist.
// API keys, whose events don't depend on their life, are issued with life 0.
func (db *DB) Issue(ctx context.Context, life time.Duration, fn func(tx *Tx, a Authority) error) error {
	return db.UpdateBriefly(ctx, func(tx *Tx) error {
		a, err := tx.ShareAuthority(ctx)
		if err != nil {
			return err
		}
		if life > 0 {
			// One second more, for an exp that is rounded up.
			if a, err = tx.raiseLife(ctx, a, life.Microseconds(), tx.Now()+(life+time.Second).Microseconds()); err != nil {
				return err
			}
		}
		return fn(tx, a)
	})
}

// IssueInTurn is [DB.Issue] for transactions that all lock the same user, if one is named: on PostgreSQL they come to the database one after
// the other. On SQLite they share commits.
func (db *DB) IssueInTurn(ctx context.Context, userID string, life time.Duration, fn func(tx *Tx, a Authority) error) error {
	if userID == "" || db.dialect.engine == SQLite {
		return db.Issue(ctx, life, fn)
	}
	leave, err := db.lanes.enter(ctx, userID)
	if err != nil {
		return err
	}
	defer leave()
	return db.Issue(ctx, life, fn)
}

func (tx *Tx) raiseLife(ctx context.Context, a Authority, ttl, exp int64) (Authority, error) {
	if tx.failed != nil || (ttl <= a.MaxAccessTTL && exp <= a.ExpCeiling) {
		return a, tx.failed
	}
	a.MaxAccessTTL = max(a.MaxAccessTTL, ttl)
	a.ExpCeiling = max(a.ExpCeiling, exp+ceilingStep.Microseconds())
	_, err := tx.exec(ctx, `UPDATE authority SET
		max_access_ttl = CASE WHEN max_access_ttl < $1 THEN $1 ELSE max_access_ttl END,
		exp_ceiling = CASE WHEN exp_ceiling < $2 THEN $2 ELSE exp_ceiling END WHERE id = 1`, a.MaxAccessTTL, a.ExpCeiling)
	return a, err
}

// RaiseAccessTTL records that this replica will issue access tokens of a life. It MUST be called before the first.
func (tx *Tx) RaiseAccessTTL(ctx context.Context, life time.Duration) error {
	_, err := tx.exec(ctx, `UPDATE authority SET max_access_ttl = $1 WHERE id = 1 AND max_access_ttl < $1`, life.Microseconds())
	return err
}

// Authority reads the bounds without a lock.
func (tx *Tx) Authority(ctx context.Context) (Authority, error) {
	var a Authority
	columns, into, now := authorityColumns, a.into(), int64(0)
	if tx.now == 0 && tx.db.dialect.clock != "" { // nearly everybody asks for both
		columns, into = columns+", "+tx.db.clock(), append(into, &now)
	}
	err := tx.queryRow(ctx, `SELECT `+columns+` FROM authority WHERE id = 1`).Scan(into...)
	if err == nil {
		tx.keySet, tx.now = &a.KeySetVersion, max(tx.now, now)
	}
	return a, err
}

// ShareAuthority reads the bounds and keeps TokensBefore and KeysBefore from being raised until this transaction ends.
func (tx *Tx) ShareAuthority(ctx context.Context) (Authority, error) {
	return tx.lockedAuthority(ctx, tx.db.dialect.shareAuthority)
}

// LockAuthority reads the bounds and waits for, then keeps out, every transaction that shares them.
func (tx *Tx) LockAuthority(ctx context.Context) (Authority, error) {
	return tx.lockedAuthority(ctx, tx.db.dialect.lockAuthority)
}

// lockedAuthority reads in a statement after the lock's: the one that waits would see what was before.
func (tx *Tx) lockedAuthority(ctx context.Context, lock string) (Authority, error) {
	if lock != "" {
		if err := tx.later(ctx, lock); err != nil {
			return Authority{}, err
		}
	}
	a, err := tx.Authority(ctx)
	if err == nil {
		tx.locked, tx.watermark = true, max(a.TokensBefore, a.KeysBefore)
	}
	return a, err
}

// RaiseBefore kills every session and token, and with keys every API key, whose id is older than a time in
// milliseconds. It reports whether that changed anything. It takes the lock of [Tx.LockAuthority] and therefore MUST
// come before all others.
func (tx *Tx) RaiseBefore(ctx context.Context, before int64, keys bool) (bool, error) {
	a, err := tx.LockAuthority(ctx)
	if err != nil {
		return false, err
	}
	raised := a
	raised.TokensBefore = max(a.TokensBefore, before)
	if keys {
		raised.KeysBefore = max(a.KeysBefore, before)
	}
	if raised == a {
		return false, nil
	}
	_, err = tx.exec(ctx, `UPDATE authority SET tokens_before = $1, keys_before = $2 WHERE id = 1`,
		raised.TokensBefore, raised.KeysBefore)
	tx.watermark = max(raised.TokensBefore, raised.KeysBefore)
	return true, err
}

const newestIssue = `SELECT (SELECT COALESCE(max(id), '') FROM sessions), (SELECT COALESCE(max(id), '') FROM api_keys),
	(SELECT COALESCE(max(id), '') FROM audit), (SELECT COALESCE(max(last_used_at), 0) FROM sessions)`

// NewestIssue returns the greatest time in milliseconds that an id of a session or key has, or that of a token may have,
// as far as the last use of its session tells, or the audit row that a derived token's transaction wrote after it.
// Only [Tx.LockAuthority] keeps newer ones out.
func (tx *Tx) NewestIssue(ctx context.Context) (int64, error) {
	a, err := tx.Authority(ctx)
	if err != nil {
		return 0, err
	}
	var session, key, audited string
	var used int64
	err = tx.queryRow(ctx, newestIssue).Scan(&session, &key, &audited, &used)
	newest := max(a.TokensBefore, a.KeysBefore, used/1000)
	for _, id := range []string{session, key, audited} {
		if parsed, err := events.ParseID(id); err == nil && parsed.IsV7() {
			newest = max(newest, parsed.Millis())
		}
	}
	return newest, err
}

// BumpKeySetVersion locks the set of signing keys against other changes and returns its new version. Like other versions it
// isn't below the time, so that none is given again after the database was set back: a replica that ran through that would
// take the set that it remembers for the new one.
func (tx *Tx) BumpKeySetVersion(ctx context.Context) (int64, error) {
	var version int64
	err := tx.queryRow(ctx, `UPDATE authority SET key_set_version =
		CASE WHEN key_set_version < $1 THEN $1 ELSE key_set_version + 1 END WHERE id = 1
		RETURNING key_set_version`, tx.Now()).Scan(&version)
	tx.keySet, tx.ownKeySet = &version, true
	return version, err
}

// KeySetVersion returns the version of the set of signing keys as this transaction sees it, from an earlier read of
// authority where there was one. own says that this transaction changed the set, and nobody else sees that version yet.
func (tx *Tx) KeySetVersion(ctx context.Context) (version int64, own bool, err error) {
	if tx.keySet == nil {
		if _, err := tx.Authority(ctx); err != nil {
			return 0, false, err
		}
	}
	return *tx.keySet, tx.ownKeySet, nil
}

// WaitUntil returns when the database's clock has reached a time in microseconds.
func (db *DB) WaitUntil(ctx context.Context, at int64) error {
	for {
		var now int64
		if err := db.View(ctx, func(tx *Tx) error { now = tx.Now(); return nil }); err != nil {
			return fmt.Errorf("waiting for the database's clock: %w", err)
		}
		if now >= at {
			return nil
		}
		timer := time.NewTimer(min(time.Duration(at-now)*time.Microsecond, time.Second))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}
