package store

import (
	"cmp"
	"context"
	"slices"
)

// bumped is a user who got a new tv.
type bumped struct {
	id string
	tv int64
}

func scanBumped(s scanner) (b bumped, err error) {
	err = s.Scan(&b.id, &b.tv)
	return b, err
}

// One statement, since a hundred thousand rows that are locked, brought here and written one list after the other keep
// everybody who wants one of them waiting for twice as long, and on SQLite everybody who writes at all.
const bumpRole = `UPDATE users SET tv = CASE WHEN tv < $1 THEN $1 ELSE tv + 1 END, keys_tv = CASE WHEN tv < $1 THEN $1 ELSE tv + 1 END
	WHERE roles LIKE $2 ESCAPE '\' RETURNING id, tv`

// BumpTokensByRole kills every session, token and API key of everybody who has a role. They share the returned tv, which is
// above every old one; ids is in ascending order, and empty when nobody has the role. Who gets the role while it runs is not
// among them unless that was committed before. It looks at every user.
//
// It locks rows in the order in which it finds them, which is nobody else's order. So it has admins first, whom changes of
// a user lock before that user, and it runs alone among what locks many users ([Tx.LockUsers]).
func (tx *Tx) BumpTokensByRole(ctx context.Context, role string) (ids []string, tv int64, err error) {
	if err := tx.keepOthersOut(ctx, role); err != nil {
		return nil, 0, err
	}
	all, err := queryAll(ctx, tx, scanBumped, bumpRole, tx.Now(), rolePattern(role))
	if err != nil {
		return nil, 0, err
	}
	slices.SortFunc(all, func(a, b bumped) int { return cmp.Compare(a.id, b.id) })
	ids = make([]string, len(all))
	for i, b := range all {
		ids[i], tv = b.id, max(tv, b.tv)
	}
	return ids, tv, tx.level(ctx, all, tv)
}

func (tx *Tx) keepOthersOut(ctx context.Context, role string) error {
	if tx.db.dialect.lockMany == "" {
		return tx.failed
	}
	if _, err := tx.exec(ctx, tx.db.dialect.lockMany); err != nil {
		return err
	}
	_, err := queryAll(ctx, tx, scanString, activeAdmins+` AND roles LIKE $1 ESCAPE '\' ORDER BY id`+tx.db.dialect.forUpdate,
		rolePattern(role))
	return err
}

// level gives those the common tv who were left below it, as some had versions that the clock hasn't reached.
func (tx *Tx) level(ctx context.Context, all []bumped, tv int64) error {
	var below []string
	for _, b := range all {
		if b.tv < tv {
			below = append(below, b.id)
		}
	}
	return tx.setTokens(ctx, below, tv, true)
}

// AwaitIssuers returns when every transaction that was issuing credentials ([DB.Issue]) at the time of the call has ended;
// it keeps none out.
func (db *DB) AwaitIssuers(ctx context.Context) error {
	if db.dialect.lockAuthority == "" { // one writer: whoever writes next comes after them
		return nil
	}
	return db.Update(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, db.dialect.lockAuthority)
		return err
	})
}
