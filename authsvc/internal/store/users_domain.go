package store

import (
	"context"
	"slices"
)

// CountByRole returns how many users have a role, disabled ones included.
func (tx *Tx) CountByRole(ctx context.Context, role string) (n int, err error) {
	err = tx.queryRow(ctx, `SELECT count(*) FROM users WHERE roles LIKE $1 ESCAPE '\'`, rolePattern(role)).Scan(&n)
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
