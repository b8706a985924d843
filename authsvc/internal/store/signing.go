package store

import (
	"context"
	"errors"
)

// Purpose separates the two kinds of signing keys.
type Purpose string

// The purposes.
const (
	PurposeToken Purpose = "token"
	PurposeFeed  Purpose = "feed"
)

// SigningKey is a row of signing_keys.
type SigningKey struct {
	KID       string // RFC 7638 thumbprint
	Purpose   Purpose
	Alg       string
	PublicJWK string
	Sealed    []byte // PKCS #8, encrypted
	CreatedAt int64
	ActiveAt  int64  // signs from then on
	RetireAt  *int64 // leaves the set then
}

// InsertSigningKey adds a key. The set MUST be locked by [Tx.BumpKeySetVersion]. A kid that ever left the set is
// [ErrConflict]: it never comes back.
func (tx *Tx) InsertSigningKey(ctx context.Context, k SigningKey) error {
	var retired int
	if err := tx.queryRow(ctx, `SELECT count(*) FROM retired_kids WHERE kid = $1`, k.KID).Scan(&retired); err != nil {
		return err
	}
	if retired > 0 {
		return ErrConflict
	}
	_, err := tx.exec(ctx, `INSERT INTO signing_keys (kid, purpose, alg, public_jwk, sealed, created_at, active_at, retire_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		k.KID, string(k.Purpose), k.Alg, k.PublicJWK, k.Sealed, k.CreatedAt, k.ActiveAt, k.RetireAt)
	return err
}

// SigningKeys reads all keys in the set, in the order in which they become active.
func (tx *Tx) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	scan := func(s scanner) (k SigningKey, err error) {
		err = s.Scan(&k.KID, &k.Purpose, &k.Alg, &k.PublicJWK, &k.Sealed, &k.CreatedAt, &k.ActiveAt, &k.RetireAt)
		return k, err
	}
	return queryAll(ctx, tx, scan, `SELECT kid, purpose, alg, public_jwk, sealed, created_at, active_at, retire_at
		FROM signing_keys ORDER BY active_at, kid`)
}

// SetRetireAt says when a key leaves the set.
func (tx *Tx) SetRetireAt(ctx context.Context, kid string, at int64) error {
	return tx.execOne(ctx, `UPDATE signing_keys SET retire_at = $2 WHERE kid = $1`, kid, at)
}

// RetireSigningKey removes a key from the set for ever.
func (tx *Tx) RetireSigningKey(ctx context.Context, kid string) error {
	if err := tx.execOne(ctx, `DELETE FROM signing_keys WHERE kid = $1`, kid); err != nil {
		return err
	}
	_, err := tx.exec(ctx, `INSERT INTO retired_kids (kid, retired_at) VALUES ($1, $2)`, kid, tx.Now())
	return err
}

// StreamKey returns the kid of the feed key that the stream can be read with, "" when nothing was ever published.
func (tx *Tx) StreamKey(ctx context.Context) (kid string, err error) {
	err = tx.queryRow(ctx, `SELECT stream_kid FROM feed_state WHERE id = 1`).Scan(&kid)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return kid, err
}

// InsertSecret keeps a sealed secret; a name that is taken is [ErrConflict].
func (tx *Tx) InsertSecret(ctx context.Context, name string, sealed []byte) error {
	_, err := tx.exec(ctx, `INSERT INTO secrets (name, sealed) VALUES ($1, $2)`, name, sealed)
	return err
}

// Secret reads a sealed secret.
func (tx *Tx) Secret(ctx context.Context, name string) ([]byte, error) {
	var sealed []byte
	err := tx.queryRow(ctx, `SELECT sealed FROM secrets WHERE name = $1`, name).Scan(&sealed)
	return sealed, err
}

// HasSecrets reports whether the database holds anything sealed, so that a missing master key is an error.
func (tx *Tx) HasSecrets(ctx context.Context) (bool, error) {
	var n int
	err := tx.queryRow(ctx, `SELECT (SELECT count(*) FROM secrets) + (SELECT count(*) FROM signing_keys)`).Scan(&n)
	return n > 0, err
}
