package storetest

import (
	"crypto/sha256"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// update runs a transaction that must succeed.
func update(t testing.TB, db *store.DB, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// view runs a read that must succeed.
func view(t testing.TB, db *store.DB, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := db.View(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// AddUser adds a user with a name and roles.
func AddUser(t testing.TB, db *store.DB, name string, roles ...string) store.User {
	t.Helper()
	var u store.User
	update(t, db, func(tx *store.Tx) error {
		now := tx.Now()
		u = store.User{ID: tx.NewID(), Username: name, PasswordHash: "hash", Roles: append([]string{}, roles...),
			Plan: "free", TV: now, KeysTV: now, RV: now, CreatedAt: now}
		return tx.InsertUser(t.Context(), u)
	})
	return u
}

// AddSession adds a session of a user that lives for an hour.
func AddSession(t testing.TB, db *store.DB, u store.User) store.Session {
	t.Helper()
	var s store.Session
	update(t, db, func(tx *store.Tx) error {
		now := tx.Now()
		s = store.Session{ID: tx.NewID(), UserID: u.ID, Mode: "live", AMR: []string{"pwd"}, AuthTime: now, TV: u.TV,
			CreatedAt: now, LastUsedAt: now, ExpiresAt: now + hour, IdleExpiresAt: now + hour, IP: "192.0.2.1", UserAgent: "test"}
		return tx.InsertSession(t.Context(), s)
	})
	return s
}

// AddKey adds an API key of a user.
func AddKey(t testing.TB, db *store.DB, u store.User, name string) store.APIKey {
	t.Helper()
	hash := sha256.Sum256([]byte(u.ID + name))
	var k store.APIKey
	update(t, db, func(tx *store.Tx) error {
		now := tx.Now()
		k = store.APIKey{ID: tx.NewID(), UserID: u.ID, Name: name, Mode: "live", Hash: hash[:], Prefix: "tcs_live_" + name,
			Scopes: []string{}, TV: max(u.TV, u.KeysTV), KV: now, CreatedAt: now, CreatedBy: u.ID}
		return tx.InsertAPIKey(t.Context(), k)
	})
	return k
}

const (
	second = int64(1_000_000)
	hour   = 3600 * second
)
