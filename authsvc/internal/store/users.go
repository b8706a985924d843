package store

import (
	"context"
	"slices"
	"strconv"
	"strings"
)

// RoleAdmin is the role of which the database always keeps one enabled holder, see [Tx.LockAdmins].
const RoleAdmin = "admin"

// User is a row of users.
type User struct {
	ID           string
	Username     string // lower case
	Email        string // empty: none
	PasswordHash string
	Roles        []string
	Plan         string
	Disabled     bool
	// TV: tokens and sessions with a lower one are dead. KeysTV: API keys made under a lower TV are dead.
	// RV: version of Roles, Plan and Disabled.
	TV, KeysTV, RV int64
	CreatedAt      int64
}

const userColumns = `users.id, users.username, COALESCE(users.email, ''), users.password_hash, users.roles, users.plan,
	users.disabled, users.tv, users.keys_tv, users.rv, users.created_at`

func (u *User) into() []any {
	return []any{&u.ID, &u.Username, &u.Email, &u.PasswordHash, scanList(&u.Roles), &u.Plan,
		&u.Disabled, &u.TV, &u.KeysTV, &u.RV, &u.CreatedAt}
}

func scanUser(s scanner) (u User, err error) {
	err = s.Scan(u.into()...)
	return u, err
}

// InsertUser adds a user. A username that is taken is [ErrConflict].
func (tx *Tx) InsertUser(ctx context.Context, u User) error {
	_, err := tx.exec(ctx, `INSERT INTO users
		(id, username, email, password_hash, roles, plan, disabled, tv, keys_tv, rv, created_at)
		VALUES ($1, $2, NULLIF($3, ''), $4, $5, $6, $7, $8, $9, $10, $11)`,
		u.ID, u.Username, u.Email, u.PasswordHash, listText(u.Roles), u.Plan, u.Disabled, u.TV, u.KeysTV, u.RV, u.CreatedAt)
	return err
}

// User reads a user by id.
func (tx *Tx) User(ctx context.Context, id string) (User, error) {
	return scanUser(tx.queryRow(ctx, `SELECT `+userColumns+` FROM users WHERE id = $1`, id))
}

// UserByName reads a user by lower-case username.
func (db *DB) UserByName(ctx context.Context, username string) (User, error) {
	found, err := ask(ctx, db, scanUser, `SELECT `+userColumns+` FROM users WHERE username = $1`, username)
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return User{}, err
	}
	return found[0], nil
}

// LockUser reads a user and locks the row.
func (tx *Tx) LockUser(ctx context.Context, id string) (User, error) {
	return scanUser(tx.queryRow(ctx, `SELECT `+userColumns+` FROM users WHERE id = $1`+tx.db.dialect.forUpdate, id))
}

// LockUsers reads and locks the users that exist among ids, in ascending order of id. When there may be more than one it
// first keeps out who locks many in another order, see [Tx.BumpTokensByRole], and has the admins among them.
func (tx *Tx) LockUsers(ctx context.Context, ids []string) ([]User, error) {
	sorted := slices.Compact(slices.Sorted(slices.Values(ids)))
	if len(sorted) > 1 && tx.db.dialect.shareMany != "" {
		if err := tx.later(ctx, tx.db.dialect.shareMany); err != nil {
			return nil, err
		}
		for chunk := range slices.Chunk(sorted, maxParameters) {
			if err := tx.later(ctx, tx.listed(activeAdmins+` AND`, len(chunk)), anys(chunk)...); err != nil {
				return nil, err
			}
		}
	}
	return lockListed(ctx, tx, scanUser, `SELECT `+userColumns+` FROM users WHERE`, sorted)
}

// lockListed locks the rows that a query finds of those with ids in ascending order.
func lockListed[T any](ctx context.Context, tx *Tx, scan func(scanner) (T, error), query string, sorted []string) (all []T, err error) {
	for chunk := range slices.Chunk(sorted, maxParameters) {
		some, err := queryAll(ctx, tx, scan, tx.listed(query, len(chunk)), anys(chunk)...)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// listed is a query of the rows with so many ids, which locks them in ascending order.
func (tx *Tx) listed(query string, n int) string {
	return query + ` id IN (` + placeholders(1, n) + `) ORDER BY id` + tx.db.dialect.forUpdate
}

// isAdmin is the condition of the index users_admins, word for word: no parameter may stand in it.
const isAdmin = `roles LIKE '%"admin"%'`

const (
	activeAdmins = `SELECT id FROM users WHERE ` + isAdmin + ` AND NOT disabled`
	lockAdmins   = activeAdmins + ` ORDER BY id`
	countAdmins  = `SELECT count(*) FROM users WHERE ` + isAdmin
)

// LockAdmins locks every enabled admin and returns how many there are. A transaction that takes the role from a user,
// disables or deletes one MUST call it before it locks that user: of two that would remove the last two admins at once,
// one then sees the other's work.
func (tx *Tx) LockAdmins(ctx context.Context) (int, error) {
	ids, err := queryAll(ctx, tx, scanString, lockAdmins+tx.db.dialect.forUpdate)
	return len(ids), err
}

// Users reads a page of users, in ascending order of id, after a cursor (the last id of the page before, or "").
// A query keeps those whose username or email contains it, or whose id it is.
func (tx *Tx) Users(ctx context.Context, query, after string, limit int) ([]User, error) {
	pattern := "%" + escapeLike(strings.ToLower(query)) + "%"
	return queryAll(ctx, tx, scanUser, `SELECT `+userColumns+` FROM users
		WHERE id > $1 AND (username LIKE $2 ESCAPE '\' OR lower(COALESCE(email, '')) LIKE $2 ESCAPE '\' OR id = $3)
		ORDER BY id LIMIT $4`, after, pattern, query, limit)
}

// CountAdmins returns how many admins there are, disabled ones included.
func (tx *Tx) CountAdmins(ctx context.Context) (n int, err error) {
	err = tx.queryRow(ctx, countAdmins).Scan(&n)
	return n, err
}

// UsersByID reads the users that exist among ids.
func (tx *Tx) UsersByID(ctx context.Context, ids []string) (map[string]User, error) {
	found := make(map[string]User, len(ids))
	for chunk := range slices.Chunk(ids, maxParameters) {
		users, err := queryAll(ctx, tx, scanUser, `SELECT `+userColumns+` FROM users WHERE id IN (`+
			placeholders(1, len(chunk))+`)`, anys(chunk)...)
		if err != nil {
			return nil, err
		}
		for _, u := range users {
			found[u.ID] = u
		}
	}
	return found, nil
}

// SetPassword replaces a user's password hash.
func (tx *Tx) SetPassword(ctx context.Context, id, hash string) error {
	return tx.execOne(ctx, `UPDATE users SET password_hash = $2 WHERE id = $1`, id, hash)
}

// SetAuthorization replaces a user's whole authorization state and returns its new version.
func (tx *Tx) SetAuthorization(ctx context.Context, id string, roles []string, plan string, disabled bool) (rv int64, err error) {
	err = tx.queryRow(ctx, `UPDATE users SET roles = $2, plan = $3, disabled = $4,
		rv = CASE WHEN rv < $5 THEN $5 ELSE rv + 1 END WHERE id = $1 RETURNING rv`,
		id, listText(roles), plan, disabled, tx.Now()).Scan(&rv)
	return rv, err
}

// BumpTokens kills every session and token of users, and with keys every API key that they have now. The users MUST be
// locked by this transaction; they share the returned tv, which is above every old one.
func (tx *Tx) BumpTokens(ctx context.Context, users []User, keys bool) (tv int64, err error) {
	tv = tx.Now()
	ids := make([]string, 0, len(users))
	for _, u := range users {
		tv = max(tv, u.TV+1)
		ids = append(ids, u.ID)
	}
	return tv, tx.setTokens(ctx, ids, tv, keys)
}

func (tx *Tx) setTokens(ctx context.Context, ids []string, tv int64, keys bool) error {
	set := "tv = $1"
	if keys {
		set = "tv = $1, keys_tv = $1"
	}
	for chunk := range slices.Chunk(ids, maxParameters) {
		_, err := tx.exec(ctx, `UPDATE users SET `+set+` WHERE id IN (`+placeholders(2, len(chunk))+`)`,
			append([]any{tv}, anys(chunk)...)...)
		if err != nil {
			return err
		}
	}
	return tx.failed
}

// DeleteUser deletes a user and all that is the user's: sessions, refresh tokens, API keys, and what was counted. A count
// that is under way may be written after it; it is pruned when its windows have ended.
func (tx *Tx) DeleteUser(ctx context.Context, id string) error {
	if err := tx.deleteQuotas(ctx, id); err != nil {
		return err
	}
	return tx.execOne(ctx, `DELETE FROM users WHERE id = $1`, id)
}

// maxParameters bounds the lists of one statement.
const maxParameters = 500

// placeholders returns "$first, $first+1, …", n of them.
func placeholders(first, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(first + i))
	}
	return b.String()
}

func anys(values []string) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

// rolePattern finds a role in the JSON text of roles, whose names need no escaping there.
func rolePattern(role string) string { return `%"` + escapeLike(role) + `"%` }

// escapeLike makes text mean itself in a LIKE … ESCAPE '\'.
func escapeLike(text string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text)
}
