package store

import (
	"context"
	"fmt"
)

// APIKey is a row of api_keys. The key itself is nowhere in the database.
type APIKey struct {
	ID              string
	UserID          string
	Name            string
	Mode            string
	Hash            []byte // SHA-256 of the whole key
	Prefix          string // what lists show
	Scopes          []string
	TV              int64 // the user's at creation
	KV              int64 // version of Suspended and Held
	Suspended       bool
	Held            bool // suspended by an admin; never without Suspended
	NotAfter        *int64
	Ended           bool   // for good, whatever the clock says
	Successor       string // empty: none
	CreatedAt       int64
	CreatedBy       string
	LastUsedAt      *int64
	LastUsedService string
}

// Alive reports whether the key may be used at a time. It is the one place that decides this; u MUST be the key's user
// and all three MUST come from one transaction.
func (k APIKey) Alive(u User, a Authority, now int64) bool {
	return k.UserID == u.ID && !u.Disabled && !k.Suspended && k.TV >= u.KeysTV && !k.Ended &&
		(k.NotAfter == nil || now < *k.NotAfter) && !madeBefore(k.ID, a.KeysBefore)
}

const keyColumns = `api_keys.id, api_keys.user_id, api_keys.name, api_keys.mode, api_keys.hash, api_keys.prefix,
	api_keys.scopes, api_keys.tv, api_keys.kv, api_keys.suspended, api_keys.held, api_keys.not_after, api_keys.ended, COALESCE(api_keys.successor, ''),
	api_keys.created_at, api_keys.created_by, api_keys.last_used_at, COALESCE(api_keys.last_used_service, '')`

func (k *APIKey) into() []any {
	return []any{&k.ID, &k.UserID, &k.Name, &k.Mode, &k.Hash, &k.Prefix,
		scanList(&k.Scopes), &k.TV, &k.KV, &k.Suspended, &k.Held, &k.NotAfter, &k.Ended, &k.Successor,
		&k.CreatedAt, &k.CreatedBy, &k.LastUsedAt, &k.LastUsedService}
}

func scanKey(s scanner) (k APIKey, err error) {
	err = s.Scan(k.into()...)
	return k, err
}

// InsertAPIKey adds a key.
func (tx *Tx) InsertAPIKey(ctx context.Context, k APIKey) error {
	return tx.later(ctx, `INSERT INTO api_keys (id, user_id, name, mode, hash, prefix, scopes, tv, kv, suspended,
		not_after, successor, created_at, created_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, NULLIF($12, ''), $13, $14)`,
		k.ID, k.UserID, k.Name, k.Mode, k.Hash, k.Prefix, listText(k.Scopes), k.TV, k.KV, k.Suspended,
		k.NotAfter, k.Successor, k.CreatedAt, k.CreatedBy)
}

// APIKey reads a key, alive or not.
func (tx *Tx) APIKey(ctx context.Context, id string) (APIKey, error) {
	return scanKey(tx.queryRow(ctx, `SELECT `+keyColumns+` FROM api_keys WHERE id = $1`, id))
}

// LockAPIKey reads a key, alive or not, and locks its row.
func (tx *Tx) LockAPIKey(ctx context.Context, id string) (APIKey, error) {
	return scanKey(tx.queryRow(ctx, `SELECT `+keyColumns+` FROM api_keys WHERE id = $1`+tx.db.dialect.forUpdate, id))
}

// LockAPIKeys reads and locks the keys that exist among ids, which MUST be in ascending order.
func (tx *Tx) LockAPIKeys(ctx context.Context, sorted []string) ([]APIKey, error) {
	return lockListed(ctx, tx, scanKey, `SELECT `+keyColumns+` FROM api_keys WHERE`, sorted)
}

// APIKeyWithUser reads a key, alive or not, by its hash, with its user and the bounds that concern both, in one query.
func (tx *Tx) APIKeyWithUser(ctx context.Context, hash []byte) (APIKey, User, Authority, error) {
	var k APIKey
	var u User
	var a Authority
	err := tx.queryRow(ctx, `SELECT `+keyColumns+`, `+userColumns+`, `+authorityColumns+`
		FROM api_keys JOIN users ON users.id = api_keys.user_id CROSS JOIN authority WHERE api_keys.hash = $1`, hash).
		Scan(append(append(k.into(), u.into()...), a.into()...)...)
	if err == nil {
		tx.keySet = &a.KeySetVersion
	}
	return k, u, a, err
}

// APIKeysOf reads all keys of a user, newest first.
func (tx *Tx) APIKeysOf(ctx context.Context, userID string) ([]APIKey, error) {
	return queryAll(ctx, tx, scanKey, `SELECT `+keyColumns+` FROM api_keys WHERE user_id = $1 ORDER BY id DESC`, userID)
}

// KeyFilter narrows a list of keys; zero fields don't.
type KeyFilter struct {
	Prefix string // of the key, as far as Prefix shows it
	UserID string
	// ExpiringBy keeps keys that are to die after now and no later than this.
	ExpiringBy int64
}

// APIKeys reads a page of keys, in ascending order of id, after a cursor (the last id of the page before, or "").
func (tx *Tx) APIKeys(ctx context.Context, f KeyFilter, after string, limit int) ([]APIKey, error) {
	query, args := f.query(after, tx.Now(), limit)
	return queryAll(ctx, tx, scanKey, query, args...)
}

// query leaves out what doesn't narrow, so that a user's keys are found by their index.
func (f KeyFilter) query(after string, now int64, limit int) (query string, args []any) {
	query, args = `SELECT `+keyColumns+` FROM api_keys WHERE id > $1`, []any{after, limit}
	if f.UserID != "" {
		args = append(args, f.UserID)
		query += fmt.Sprintf(` AND user_id = $%d`, len(args))
	}
	if f.Prefix != "" {
		args = append(args, f.Prefix)
		query += fmt.Sprintf(` AND substr(prefix, 1, length(CAST($%[1]d AS TEXT))) = CAST($%[1]d AS TEXT)`, len(args))
	}
	if f.ExpiringBy != 0 {
		args = append(args, now, f.ExpiringBy)
		query += fmt.Sprintf(` AND not_after > $%d AND not_after <= $%d`, len(args)-1, len(args))
	}
	return query + ` ORDER BY id LIMIT $2`, args
}

// RenameAPIKey changes a key's name.
func (tx *Tx) RenameAPIKey(ctx context.Context, id, name string) error {
	return tx.execOne(ctx, `UPDATE api_keys SET name = $2 WHERE id = $1`, id, name)
}

// SetAPIKeySuspended suspends or resumes a key and returns the new kv. held says that an admin suspends it, so it goes with
// suspended only.
func (tx *Tx) SetAPIKeySuspended(ctx context.Context, id string, suspended, held bool) (kv int64, err error) {
	err = tx.queryRow(ctx, `UPDATE api_keys SET suspended = $2, held = $3, kv = CASE WHEN kv < $4 THEN $4 ELSE kv + 1 END
		WHERE id = $1 RETURNING kv`, id, suspended, held, tx.Now()).Scan(&kv)
	return kv, err
}

// EndAPIKey lets a key die at a time, or at its earlier one, and names its successor unless that is "". It returns
// when the key dies. What dies at once stays dead when the clock is set back afterwards.
func (tx *Tx) EndAPIKey(ctx context.Context, id string, notAfter int64, successor string) (int64, error) {
	var at int64
	err := tx.queryRow(ctx, `UPDATE api_keys SET
		not_after = CASE WHEN not_after < $2 THEN not_after ELSE $2 END, ended = (ended OR $4),
		successor = COALESCE(NULLIF($3, ''), successor) WHERE id = $1 RETURNING not_after`,
		id, notAfter, successor, notAfter <= tx.Now()).Scan(&at)
	return at, err
}

// DeleteAPIKey deletes a key.
func (tx *Tx) DeleteAPIKey(ctx context.Context, id string) error {
	return tx.execOne(ctx, `DELETE FROM api_keys WHERE id = $1`, id)
}

const pruneAPIKeys = `DELETE FROM api_keys WHERE id IN (SELECT id FROM api_keys WHERE not_after < $1 ORDER BY not_after LIMIT $2)`

// PruneAPIKeys deletes at most limit keys that died before a time, and returns how many. They are unknown afterwards,
// which is no less dead.
func (tx *Tx) PruneAPIKeys(ctx context.Context, before int64, limit int) (int64, error) {
	return tx.exec(ctx, pruneAPIKeys, before, limit)
}

// APIKeysByHash reads the keys that exist, alive or not, of at most 500 hashes, in ascending order of id.
func (tx *Tx) APIKeysByHash(ctx context.Context, hashes [][]byte) ([]APIKey, error) {
	if len(hashes) == 0 {
		return nil, tx.failed
	}
	args := make([]any, 0, len(hashes))
	for _, hash := range hashes {
		args = append(args, hash)
	}
	return queryAll(ctx, tx, scanKey, `SELECT `+keyColumns+` FROM api_keys WHERE hash IN (`+placeholders(1, len(args))+`) ORDER BY id`, args...)
}
