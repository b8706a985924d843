package quota

import (
	"context"
	"slices"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Question is what one instance of a service has sent.
type Question struct {
	Service string
	events.QuotaRequest
}

// Answer has a grant for each entry of its question, in order.
type Answer struct {
	Now    int64
	Grants []events.QuotaGrant
}

// Ledger keeps the accounts in the database. It is safe for concurrent use.
type Ledger struct{ db *store.DB }

// NewLedger returns a ledger.
func NewLedger(db *store.DB) *Ledger { return &Ledger{db} }

// Settle answers questions, all of them in one transaction or none. Limits are as of a moment after the call began.
func (l *Ledger) Settle(ctx context.Context, questions []Question) ([]Answer, error) {
	limits, now, err := l.db.Limits(ctx, users(questions))
	if err != nil {
		return nil, err
	}
	b := newBatch(questions, limits, now)
	if len(b.accounts) == 0 {
		b.answer(nil, nil)
		return b.answers, nil
	}
	return b.answers, l.db.CountQuotas(ctx, b.accounts, func(tx *store.Tx, rows map[store.QuotaKey]store.QuotaAccount) error {
		return b.run(ctx, tx, rows)
	})
}

func users(questions []Question) []string {
	var ids []string
	for _, q := range questions {
		for _, e := range q.Entries {
			ids = append(ids, e.Subject)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// batch is questions that are answered together.
type batch struct {
	questions []Question
	answers   []Answer
	accounts  []store.QuotaKey // those that have limits
	holders   []store.HolderKey
	limits    map[store.QuotaKey][]store.PlanLimit
	now       int64
}

func newBatch(questions []Question, limits map[string][]store.PlanLimit, now int64) *batch {
	b := &batch{questions: questions, answers: make([]Answer, len(questions)), limits: map[store.QuotaKey][]store.PlanLimit{}, now: now}
	seen := map[store.HolderKey]bool{}
	for i, q := range questions {
		b.answers[i] = Answer{Now: now, Grants: make([]events.QuotaGrant, len(q.Entries))}
		for _, e := range q.Entries {
			key := q.key(e)
			if _, known := b.limits[key.QuotaKey]; !known {
				of := resourceOf(limits[e.Subject], e.Resource)
				if b.limits[key.QuotaKey] = of; len(of) > 0 {
					b.accounts = append(b.accounts, key.QuotaKey)
				}
			}
			if len(b.limits[key.QuotaKey]) > 0 && !seen[key] {
				seen[key] = true
				b.holders = append(b.holders, key)
			}
		}
	}
	return b
}

func (q Question) key(e events.QuotaEntry) store.HolderKey {
	return store.HolderKey{QuotaKey: store.QuotaKey{UserID: e.Subject, Resource: e.Resource}, Holder: q.Service + "/" + q.StartNonce}
}

func resourceOf(limits []store.PlanLimit, resource string) (of []store.PlanLimit) {
	for _, l := range limits {
		if l.Resource == resource {
			of = append(of, l)
		}
	}
	return of
}

// run answers in a transaction that has locked the accounts.
func (b *batch) run(ctx context.Context, tx *store.Tx, rows map[store.QuotaKey]store.QuotaAccount) error {
	held, err := tx.QuotaHolders(ctx, b.holders)
	if err != nil {
		return err
	}
	accounts := make(map[store.QuotaKey]*account, len(rows))
	for key, row := range rows {
		accounts[key] = open(row, b.limits[key], b.now)
	}
	holders := make(map[store.HolderKey]*holder, len(b.holders))
	for _, key := range b.holders {
		row := held[key]
		row.HolderKey = key
		holders[key] = &holder{QuotaHolder: row}
	}
	b.answer(accounts, holders)
	return save(ctx, tx, accounts, holders)
}

func (b *batch) answer(accounts map[store.QuotaKey]*account, holders map[store.HolderKey]*holder) {
	for i, q := range b.questions {
		for j, e := range q.Entries {
			grant := &b.answers[i].Grants[j]
			key := q.key(e)
			if holder := holders[key]; holder != nil {
				*grant = accounts[key.QuotaKey].settle(holder, report{e, q.Service, int64(q.Seq)})
			} else {
				*grant = events.QuotaGrant{EndsIn: askAgain}
			}
		}
	}
}

func save(ctx context.Context, tx *store.Tx, accounts map[store.QuotaKey]*account, holders map[store.HolderKey]*holder) error {
	var changed []store.QuotaAccount
	for _, a := range accounts {
		if a.dirty {
			changed = append(changed, a.QuotaAccount)
		}
	}
	var told []store.QuotaHolder
	for _, h := range holders {
		if h.dirty {
			told = append(told, h.QuotaHolder)
		}
	}
	if err := tx.SaveQuotas(ctx, changed); err != nil {
		return err
	}
	return tx.SaveQuotaHolders(ctx, told)
}
