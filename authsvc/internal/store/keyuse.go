package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// KeyUse tells that a service accepted an API key some time ago.
type KeyUse struct {
	KeyID   string
	Service string
	Ago     time.Duration
}

// MaxKeyUses bounds the list of [Tx.TouchAPIKeys].
const MaxKeyUses = 256

// touchGap is how much later a use must be than the one that is known, to be worth a write.
const touchGap = 30 * time.Second

// TouchAPIKeys records uses of API keys, one for each key, and returns how many it wrote. Left out are keys that don't exist,
// uses that are no news, and rows that another transaction has locked: nobody waits for this, and it waits for nobody.
func (tx *Tx) TouchAPIKeys(ctx context.Context, uses []KeyUse) (written int64, err error) {
	if len(uses) == 0 {
		return 0, nil
	}
	known, err := tx.lockUsed(ctx, uses)
	if err != nil {
		return 0, err
	}
	var rows []string
	var args []any
	for _, u := range uses {
		at := tx.Now() - u.Ago.Microseconds()
		if last, ok := known[u.KeyID]; !ok || at < last+touchGap.Microseconds() {
			continue
		}
		n := len(args)
		rows = append(rows, fmt.Sprintf(`(CAST($%d AS TEXT), CAST($%d AS BIGINT), CAST($%d AS TEXT))`, n+1, n+2, n+3))
		args = append(args, u.KeyID, at, u.Service)
	}
	if len(rows) == 0 {
		return 0, tx.failed
	}
	return tx.exec(ctx, `UPDATE api_keys SET last_used_at = told.column2, last_used_service = told.column3
		FROM (VALUES `+strings.Join(rows, ", ")+`) AS told WHERE api_keys.id = told.column1`, args...)
}

// lockUsed locks the rows of keys that exist and nobody else has locked, and returns when each was used last, or 0.
func (tx *Tx) lockUsed(ctx context.Context, uses []KeyUse) (map[string]int64, error) {
	ids := make([]string, 0, len(uses))
	for _, u := range uses {
		ids = append(ids, u.KeyID)
	}
	slices.Sort(ids)
	known := make(map[string]int64, len(ids))
	scan := func(s scanner) (struct{}, error) {
		var id string
		var last int64
		err := s.Scan(&id, &last)
		known[id] = last
		return struct{}{}, err
	}
	_, err := queryAll(ctx, tx, scan, `SELECT id, COALESCE(last_used_at, 0) FROM api_keys
		WHERE id IN (`+placeholders(1, len(ids))+`) ORDER BY id`+tx.db.dialect.forUpdateFree, anys(ids)...)
	return known, err
}
