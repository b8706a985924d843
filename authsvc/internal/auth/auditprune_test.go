package auth

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// auditLog reads the whole audit log, newest first.
func (w *world) auditLog(t *testing.T) (all []store.AuditEntry) {
	t.Helper()
	if err := w.view(t.Context(), func(tx *store.Tx) (err error) {
		all, err = tx.Audit(t.Context(), "", 10_000)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func (w *world) fillLog(t *testing.T, entries int) {
	t.Helper()
	if err := w.db.Update(t.Context(), func(tx *store.Tx) error {
		for range entries {
			if err := tx.InsertAudit(t.Context(), store.AuditEntry{Actor: "system", Action: "old", Target: "x"}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func pruned(t *testing.T, e store.AuditEntry) (n int64) {
	t.Helper()
	var detail struct {
		Deleted int64
		Before  time.Time
	}
	if err := json.Unmarshal([]byte(e.Detail), &detail); err != nil || detail.Before.IsZero() || e.Action != "audit.pruned" || e.Actor != "system" {
		t.Fatalf("%+v: %v", e, err)
	}
	return detail.Deleted
}

func TestTheAuditLogIsKeptForEverUnlessARetentionIsSet(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		before := len(w.auditLog(t))
		w.clock.Advance(10 * 365 * 24 * time.Hour)
		if err := w.PruneAudit(t.Context()); err != nil || len(w.auditLog(t)) != before {
			t.Errorf("%d of %d are left: %v", len(w.auditLog(t)), before, err)
		}
	})
}

// The entry says how many were deleted, by the transactions that did it: none is deleted without being counted.
func TestWhatIsOlderThanTheRetentionIsDeletedAndCountedInOneEntry(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.cfg.AuditRetention = 720 * time.Hour
		w.fillLog(t, 2*pruneBatch+10)
		old := int64(len(w.auditLog(t)))
		w.clock.Advance(719 * time.Hour)
		w.fillLog(t, 3) // young
		w.clock.Advance(auditSlack)
		if err := w.PruneAudit(t.Context()); err != nil || int64(len(w.auditLog(t))) != old+3 {
			t.Fatalf("it is pruned within the slack: %v", err)
		}
		w.clock.Advance(2 * time.Hour)
		if err := w.pruneAudit(t.Context(), 1); err != nil { // a call deletes no more than its rounds do
			t.Fatal(err)
		}
		if log := w.auditLog(t); int64(len(log)) != old+3-pruneBatch+1 || pruned(t, log[0]) != pruneBatch {
			t.Fatalf("%d are left after one round", len(log))
		}
		if err := w.PruneAudit(t.Context()); err != nil {
			t.Fatal(err)
		}
		log := w.auditLog(t)
		if len(log) != 5 || pruned(t, log[0])+pruned(t, log[1]) != old {
			t.Errorf("left: %s", fmt.Sprint(log))
		}
		for range 3 {
			if err := w.PruneAudit(t.Context()); err != nil || len(w.auditLog(t)) != 5 {
				t.Errorf("again: %d, %v", len(w.auditLog(t)), err)
			}
		}
	})
}

// A derived token is known by its entry alone: who looks for the newest must find one that is as new.
func TestNewestIssueIsKnownAfterThePruning(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.cfg.AuditRetention = MinAuditRetention
		newest := func() (ms int64) {
			if err := w.view(t.Context(), func(tx *store.Tx) (err error) {
				ms, err = tx.NewestIssue(t.Context())
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return ms
		}
		w.fillLog(t, 1)
		before := newest()
		w.clock.Advance(MinAuditRetention + auditSlack + time.Minute)
		if err := w.PruneAudit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if log := w.auditLog(t); len(log) != 1 || newest() < before {
			t.Errorf("%d are left; the newest issue was at %d and is now at %d", len(log), before, newest())
		}
	})
}
