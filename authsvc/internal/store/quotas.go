package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// QuotaKey names what is counted together. Test traffic is counted apart.
type QuotaKey struct {
	UserID, Resource string
	Test             bool
}

// Compare orders keys as accounts are made.
func (k QuotaKey) Compare(other QuotaKey) int {
	return cmp.Or(cmp.Compare(k.UserID, other.UserID), cmp.Compare(k.Resource, other.Resource), cmp.Compare(k.mode(), other.mode()))
}

// mode is 1 for test traffic.
func (k QuotaKey) mode() int {
	if k.Test {
		return 1
	}
	return 0
}

func (k QuotaKey) cells() []any { return []any{k.UserID, k.Resource, k.Test} }

// QuotaAccount is a row of quota_accounts. Its zero value but for the key is that of a row that there isn't yet.
type QuotaAccount struct {
	QuotaKey
	Term    int64 // when the present term began: names it, and grows
	Holders int64
	Counted int64
	Windows []QuotaWindow
	EndsAt  int64
}

// QuotaWindow is what was counted in one window.
type QuotaWindow struct {
	Seconds int64 `json:"seconds"`
	Start   int64 `json:"start"` // microseconds
	// Since is the first term whose charges are in Used.
	Since int64 `json:"since"`
	// Used is what was spent, and what is held in unspent allowances.
	Used int64 `json:"used"`
	// By is what each service has spent.
	By map[string]int64 `json:"by,omitempty"`
}

// ServiceKey names what the instances of one service hold.
type ServiceKey struct {
	QuotaKey
	Service string
}

func (k ServiceKey) cells() []any { return append(k.QuotaKey.cells(), k.Service) }

// HolderKey names what one start of one instance is allowed.
type HolderKey struct {
	ServiceKey
	Start string
}

func (k HolderKey) cells() []any { return append(k.ServiceKey.cells(), k.Start) }

// QuotaHolder is a row of quota_holders. Its zero value but for the key is that of a row that there isn't yet.
type QuotaHolder struct {
	HolderKey
	Seq     int64
	Present QuotaCharge
	// Met: the instance has shown that it goes by the present charge's term. Until then it may go by that of Before.
	Met     bool
	Before  QuotaCharge
	AskedAt int64 // or up to ten minutes earlier
}

// QuotaCharge is what an instance is charged in one term.
type QuotaCharge struct {
	Term  int64
	Spent int64
	Held  int64 // what it may spend besides
}

const (
	accountColumns = `quota_accounts.user_id, quota_accounts.resource, quota_accounts.test, quota_accounts.term, quota_accounts.holders,
	quota_accounts.counted, quota_accounts.windows, quota_accounts.ends_at`
	holderColumns = `quota_holders.user_id, quota_holders.resource, quota_holders.test, quota_holders.service, quota_holders.start_nonce,
	quota_holders.seq, quota_holders.term, quota_holders.spent, quota_holders.held, quota_holders.met, quota_holders.before_term,
	quota_holders.before_spent, quota_holders.before_held, quota_holders.asked_at`
)

func scanAccount(s scanner) (a QuotaAccount, err error) {
	var windows string
	if err := s.Scan(&a.UserID, &a.Resource, &a.Test, &a.Term, &a.Holders, &a.Counted, &windows, &a.EndsAt); err != nil {
		return a, err
	}
	if err := json.Unmarshal([]byte(windows), &a.Windows); err != nil {
		return a, fmt.Errorf("windows of a quota: %w", err)
	}
	return a, nil
}

func scanHolder(s scanner) (h QuotaHolder, err error) {
	err = s.Scan(&h.UserID, &h.Resource, &h.Test, &h.Service, &h.Start, &h.Seq, &h.Present.Term, &h.Present.Spent, &h.Present.Held, &h.Met,
		&h.Before.Term, &h.Before.Spent, &h.Before.Held, &h.AskedAt)
	return h, err
}

// CountQuotas runs fn in an update that has locked accounts, all in one order. Those that aren't there are made before, by
// themselves, on PostgreSQL, where only what is there can be locked: so of those who count at once none waits for another in a circle.
func (db *DB) CountQuotas(ctx context.Context, keys []QuotaKey, fn func(tx *Tx, accounts map[QuotaKey]QuotaAccount) error) error {
	for {
		var missing []QuotaKey
		err := db.Update(ctx, func(tx *Tx) error {
			accounts, err := tx.LockQuotas(ctx, keys)
			if err != nil {
				return err
			}
			if missing = without(keys, accounts); len(missing) > 0 && db.dialect.forUpdate != "" {
				return errMissing
			}
			for _, key := range missing {
				accounts[key] = QuotaAccount{QuotaKey: key}
			}
			return fn(tx, accounts)
		})
		if !errors.Is(err, errMissing) {
			return err
		}
		if err := db.makeQuotas(ctx, missing); err != nil {
			return err
		}
	}
}

var errMissing = errors.New("accounts are missing")

// without returns the keys that aren't among accounts, in their order and each once.
func without(keys []QuotaKey, accounts map[QuotaKey]QuotaAccount) (missing []QuotaKey) {
	for _, key := range keys {
		if _, found := accounts[key]; !found {
			missing = append(missing, key)
		}
	}
	return slices.Compact(slices.SortedFunc(slices.Values(missing), QuotaKey.Compare))
}

func (db *DB) makeQuotas(ctx context.Context, keys []QuotaKey) error {
	return db.Update(ctx, func(tx *Tx) error {
		now := tx.Now() // so that none is pruned before it is counted in
		source, args := db.dialect.table(2, columnsOf(keys, QuotaKey.cells))
		return tx.later(ctx, `INSERT INTO quota_accounts (user_id, resource, test, term, holders, counted, windows, ends_at)
			SELECT c1, c2, c3, 0, 0, 0, '[]', CAST($1 AS BIGINT) FROM `+source+` WHERE TRUE ON CONFLICT DO NOTHING`, append([]any{now}, args...)...)
	})
}

// LockQuotas locks those accounts that are there, in their order, and returns them.
func (tx *Tx) LockQuotas(ctx context.Context, keys []QuotaKey) (map[QuotaKey]QuotaAccount, error) {
	found := make(map[QuotaKey]QuotaAccount, len(keys))
	if len(keys) == 0 {
		return found, tx.failed
	}
	sorted := slices.Compact(slices.SortedFunc(slices.Values(keys), QuotaKey.Compare))
	source, args := tx.db.dialect.table(1, columnsOf(sorted, QuotaKey.cells))
	rows, err := queryAll(ctx, tx, scanAccount, `SELECT `+accountColumns+` FROM `+source+` CROSS JOIN quota_accounts
		WHERE quota_accounts.user_id = asked.c1 AND quota_accounts.resource = asked.c2 AND quota_accounts.test = asked.c3
		ORDER BY quota_accounts.user_id, quota_accounts.resource, quota_accounts.test`+tx.db.dialect.forUpdateOf("quota_accounts"), args...)
	for _, a := range rows {
		found[a.QuotaKey] = a
	}
	return found, err
}

// QuotaHolders reads what there is of holders whose accounts the transaction has locked.
func (tx *Tx) QuotaHolders(ctx context.Context, keys []HolderKey) (map[HolderKey]QuotaHolder, error) {
	found := make(map[HolderKey]QuotaHolder, len(keys))
	if len(keys) == 0 {
		return found, tx.failed
	}
	source, args := tx.db.dialect.table(1, columnsOf(keys, HolderKey.cells))
	rows, err := queryAll(ctx, tx, scanHolder, `SELECT `+holderColumns+` FROM `+source+` CROSS JOIN quota_holders
		WHERE quota_holders.user_id = asked.c1 AND quota_holders.resource = asked.c2 AND quota_holders.test = asked.c3
		AND quota_holders.service = asked.c4 AND quota_holders.start_nonce = asked.c5`, args...)
	for _, h := range rows {
		found[h.HolderKey] = h
	}
	return found, err
}

// CountQuotaHolders counts the holders of each key, up to a number.
func (tx *Tx) CountQuotaHolders(ctx context.Context, keys []ServiceKey, most int) (map[ServiceKey]int, error) {
	counts := make(map[ServiceKey]int, len(keys))
	if len(keys) == 0 {
		return counts, tx.failed
	}
	scan := func(s scanner) (struct{}, error) {
		var k ServiceKey
		var n int
		err := s.Scan(&k.UserID, &k.Resource, &k.Test, &k.Service, &n)
		counts[k] = n
		return struct{}{}, err
	}
	source, args := tx.db.dialect.table(2, columnsOf(keys, ServiceKey.cells))
	_, err := queryAll(ctx, tx, scan, `SELECT c1, c2, c3, c4, (SELECT count(*) FROM (SELECT 1 FROM quota_holders
		WHERE user_id = c1 AND resource = c2 AND test = c3 AND service = c4 LIMIT $1) AS few) FROM `+source, append([]any{most}, args...)...)
	return counts, err
}

// Quotas reads the accounts of a user in the order of their resources.
func (tx *Tx) Quotas(ctx context.Context, userID string) ([]QuotaAccount, error) {
	return queryAll(ctx, tx, scanAccount, `SELECT `+accountColumns+` FROM quota_accounts WHERE user_id = $1 ORDER BY resource, test`, userID)
}

// SaveQuotas writes accounts that the transaction has locked, each once.
func (tx *Tx) SaveQuotas(ctx context.Context, accounts []QuotaAccount) error {
	if len(accounts) == 0 {
		return tx.failed
	}
	source, args := tx.db.dialect.table(1, columnsOf(accounts, func(a QuotaAccount) []any {
		return append(a.cells(), a.Term, a.Holders, a.Counted, windowsText(a.Windows), a.EndsAt)
	}))
	return tx.later(ctx, `INSERT INTO quota_accounts (user_id, resource, test, term, holders, counted, windows, ends_at)
		SELECT c1, c2, c3, c4, c5, c6, c7, c8 FROM `+source+` WHERE TRUE
		ON CONFLICT (user_id, resource, test) DO UPDATE SET term = excluded.term, holders = excluded.holders, counted = excluded.counted,
		windows = excluded.windows, ends_at = excluded.ends_at`, args...)
}

func windowsText(windows []QuotaWindow) string {
	if len(windows) == 0 {
		return "[]"
	}
	whole, err := json.Marshal(windows)
	if err != nil {
		panic(err) // numbers and texts always marshal
	}
	return string(whole)
}

// SaveQuotaHolders writes holders whose accounts the transaction has locked, each once.
func (tx *Tx) SaveQuotaHolders(ctx context.Context, holders []QuotaHolder) error {
	if len(holders) == 0 {
		return tx.failed
	}
	source, args := tx.db.dialect.table(1, columnsOf(holders, func(h QuotaHolder) []any {
		return append(h.cells(), h.Seq, h.Present.Term, h.Present.Spent, h.Present.Held, h.Met, h.Before.Term, h.Before.Spent, h.Before.Held, h.AskedAt)
	}))
	return tx.later(ctx, `INSERT INTO quota_holders (user_id, resource, test, service, start_nonce, seq, term, spent, held, met, before_term, before_spent, before_held,
		asked_at) SELECT c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14 FROM `+source+` WHERE TRUE
		ON CONFLICT (user_id, resource, test, service, start_nonce) DO UPDATE SET seq = excluded.seq, term = excluded.term, spent = excluded.spent,
		held = excluded.held, met = excluded.met, before_term = excluded.before_term, before_spent = excluded.before_spent,
		before_held = excluded.before_held, asked_at = excluded.asked_at`, args...)
}

// deleteQuotas deletes what was counted of a user, with its accounts locked in order.
func (tx *Tx) deleteQuotas(ctx context.Context, userID string) error {
	if _, err := queryAll(ctx, tx, scanAccount, `SELECT `+accountColumns+` FROM quota_accounts WHERE user_id = $1 ORDER BY resource, test`+
		tx.db.dialect.forUpdate, userID); err != nil {
		return err
	}
	if err := tx.later(ctx, `DELETE FROM quota_accounts WHERE user_id = $1`, userID); err != nil {
		return err
	}
	return tx.later(ctx, `DELETE FROM quota_holders WHERE user_id = $1`, userID)
}

// PruneQuotas deletes at most limit holders who have asked last before a time, and as many accounts without holders whose windows
// ended before it, and returns the greater number of the two. It waits for nobody who has locked some.
func (tx *Tx) PruneQuotas(ctx context.Context, before int64, limit int) (int64, error) {
	free := tx.db.dialect.forUpdateFree
	holders, err := tx.exec(ctx, `DELETE FROM quota_holders WHERE asked_at < $1 AND (user_id, resource, test, service, start_nonce) IN
		(SELECT user_id, resource, test, service, start_nonce FROM quota_holders WHERE asked_at < $1 ORDER BY asked_at LIMIT $2`+free+`)`, before, limit)
	if err != nil {
		return 0, err
	}
	accounts, err := tx.exec(ctx, `DELETE FROM quota_accounts WHERE ends_at < $1 AND (user_id, resource, test) IN
		(SELECT user_id, resource, test FROM quota_accounts WHERE ends_at < $1 AND NOT EXISTS (SELECT 1 FROM quota_holders WHERE
		quota_holders.user_id = quota_accounts.user_id AND quota_holders.resource = quota_accounts.resource AND quota_holders.test = quota_accounts.test)
		ORDER BY ends_at LIMIT $2`+free+`)`, before, limit)
	return max(holders, accounts), err
}
