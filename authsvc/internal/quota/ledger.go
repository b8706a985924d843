package quota

import (
	"context"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	// maxHolders bounds the starts of one service's instances that an account knows at once. Who comes then is told that it is busy, until
	// others haven't asked for so long that they are forgotten.
	maxHolders = 512
	// One service's instances may become known to accounts so many times at once, and so often from then on: what is
	// kept of each is a row for as long as it asks, and an hour. At once is more than a fleet that starts anew asks for in the seconds
	// of its start, at what one process can count; from then on is what bounds the rows.
	newHolders      = 100_000
	newHoldersEvery = 2 * time.Millisecond
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
type Ledger struct {
	db      *store.DB
	holders int
	pace    pace
}

// NewLedger returns a ledger.
func NewLedger(db *store.DB) *Ledger {
	return &Ledger{db: db, holders: maxHolders, pace: pace{every: newHoldersEvery, burst: newHolders, now: time.Now}}
}

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
		return b.run(ctx, tx, rows, l)
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
	account := store.QuotaKey{UserID: e.Subject, Resource: e.Resource, Test: q.Test}
	return store.HolderKey{ServiceKey: store.ServiceKey{QuotaKey: account, Service: q.Service}, Start: q.StartNonce}
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
func (b *batch) run(ctx context.Context, tx *store.Tx, rows map[store.QuotaKey]store.QuotaAccount, l *Ledger) error {
	held, err := tx.QuotaHolders(ctx, b.holders)
	if err != nil {
		return err
	}
	holders := make(map[store.HolderKey]*holder, len(b.holders))
	for key, row := range held {
		holders[key] = &holder{QuotaHolder: row}
	}
	if err := b.admit(ctx, tx, l, holders); err != nil {
		return err
	}
	accounts := make(map[store.QuotaKey]*account, len(rows))
	for key, row := range rows {
		accounts[key] = open(row, b.limits[key], b.now)
	}
	b.answer(accounts, holders)
	return save(ctx, tx, accounts, holders)
}

// admit adds the holders that nothing is known of, as far as there may be more. Those that there may not be wait, and no others: who is new
// keeps nobody waiting who is known.
func (b *batch) admit(ctx context.Context, tx *store.Tx, l *Ledger, holders map[store.HolderKey]*holder) error {
	var services []store.ServiceKey
	for _, key := range b.holders {
		if holders[key] == nil {
			services = append(services, key.ServiceKey)
		}
	}
	counts, err := tx.CountQuotaHolders(ctx, services, l.holders)
	if err != nil {
		return err
	}
	for _, key := range b.holders {
		if holders[key] == nil && counts[key.ServiceKey] < l.holders && l.pace.allow(key.Service) {
			counts[key.ServiceKey]++
			holders[key] = &holder{QuotaHolder: store.QuotaHolder{HolderKey: key}}
		}
	}
	return nil
}

func (b *batch) answer(accounts map[store.QuotaKey]*account, holders map[store.HolderKey]*holder) {
	for i, q := range b.questions {
		for j, e := range q.Entries {
			key := q.key(e)
			b.answers[i].Grants[j] = grant(accounts[key.QuotaKey], holders[key], report{e, q.Service, int64(q.Seq)})
		}
	}
}

func grant(a *account, h *holder, r report) events.QuotaGrant {
	switch {
	case a == nil: // there is no limit
		return events.QuotaGrant{EndsIn: askAgain}
	case h == nil: // there are too many: what this one tells isn't kept either
		return events.QuotaGrant{Term: a.Term, EndsIn: a.ends - a.now, Busy: true, Limits: a.describe(&holder{})}
	}
	return a.settle(h, r)
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
