package store

import (
	"cmp"
	"context"
	"slices"
)

// SpentGrant is a job grant for which nothing is exchanged any more.
type SpentGrant struct {
	JTI    string
	EndsAt int64 // when it ends by itself, in microseconds
}

// SpendGrants makes [Tx.GrantSpent] true. It locks them as whoever revokes them does, and MUST NOT be followed by another lock.
func (tx *Tx) SpendGrants(ctx context.Context, grants []SpentGrant) error {
	sorted := slices.SortedFunc(slices.Values(grants), func(a, b SpentGrant) int { return cmp.Compare(a.JTI, b.JTI) })
	for _, g := range sorted {
		if err := tx.LockToken(ctx, g.JTI); err != nil {
			return err
		}
	}
	for _, g := range sorted {
		err := tx.later(ctx, `INSERT INTO spent_grants (jti, ends_at) VALUES ($1, $2) ON CONFLICT DO NOTHING`, g.JTI, g.EndsAt)
		if err != nil {
			return err
		}
	}
	return tx.failed
}

// GrantSpent reports whether a job grant was spent. Whoever is going to exchange it MUST have locked it, see [Tx.LockToken].
func (tx *Tx) GrantSpent(ctx context.Context, jti string) (spent bool, err error) {
	err = tx.queryRow(ctx, `SELECT EXISTS (SELECT 1 FROM spent_grants WHERE jti = $1)`, jti).Scan(&spent)
	return spent, err
}

const pruneSpentGrants = `DELETE FROM spent_grants WHERE jti IN (SELECT jti FROM spent_grants WHERE ends_at < $1 ORDER BY ends_at LIMIT $2)`

// PruneSpentGrants forgets at most limit grants that ended before a time, and returns how many.
func (tx *Tx) PruneSpentGrants(ctx context.Context, before int64, limit int) (int64, error) {
	return tx.exec(ctx, pruneSpentGrants, before, limit)
}
