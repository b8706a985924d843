package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

const (
	// MinAuditRetention is more than the life of any token: what remains of the log tells when one was issued last.
	MinAuditRetention = 48 * time.Hour
	// auditSlack is how much longer entries may stay, so that the log isn't full of what tells of its pruning.
	auditSlack = 24 * time.Hour
)

// PruneAudit deletes what is older than the retention from the audit log, and tells so there. Call it now and then; what is too much
// for one call is left for the next. Each transaction is short, and deletes no entry without counting it.
func (s *Service) PruneAudit(ctx context.Context) error { return s.pruneAudit(ctx, pruneRounds) }

func (s *Service) pruneAudit(ctx context.Context, rounds int) error {
	if s.cfg.AuditRetention == 0 {
		return nil
	}
	var due bool
	var before time.Time
	err := s.db.View(ctx, func(tx *store.Tx) (err error) {
		before = fromMicros(tx.Now()).Add(-s.cfg.AuditRetention)
		due, err = tx.AuditBefore(ctx, before.Add(-auditSlack))
		return err
	})
	if err != nil || !due {
		return refusal(err)
	}
	p := auditPruning{before: before}
	for more := true; more && rounds > 0 && err == nil; rounds-- {
		more, err = p.step(ctx, s.db)
	}
	return refusal(err)
}

// auditPruning is one run, of which one entry of the log tells.
type auditPruning struct {
	before  time.Time
	entry   string // its id, after the first step
	deleted int64
}

// step deletes a batch, and reports whether there may be more.
func (p *auditPruning) step(ctx context.Context, db *store.DB) (more bool, err error) {
	next := *p
	err = db.Update(ctx, func(tx *store.Tx) error {
		next = *p // it may run again
		n, err := tx.PruneAudit(ctx, p.before, pruneBatch)
		if err != nil || n == 0 {
			return err
		}
		more = n == pruneBatch
		next.deleted += n
		return next.tell(ctx, tx)
	})
	if err == nil {
		*p = next
	}
	return more, err
}

func (p *auditPruning) tell(ctx context.Context, tx *store.Tx) error {
	detail, err := json.Marshal(map[string]any{"deleted": p.deleted, "before": p.before})
	if err != nil {
		return fmt.Errorf("audit detail: %w", err)
	}
	if p.entry != "" {
		return tx.AmendAudit(ctx, p.entry, string(detail))
	}
	p.entry, err = tx.OpenAudit(ctx, store.AuditEntry{Actor: actorSystem, Action: "audit.pruned", Target: "audit", Detail: string(detail)})
	return err
}
