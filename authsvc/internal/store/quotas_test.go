package store_test

import (
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
)

// Who counts locks accounts in order; who prunes has another order, so it waits for nobody.
func TestPruningQuotasWaitsForNobody(t *testing.T) {
	db := storetest.Open(t, storetest.URL(t, store.Postgres))
	keys := []store.QuotaKey{{UserID: "a", Resource: "jobs"}, {UserID: "b", Resource: "jobs"}}
	save := func(tx *store.Tx) error {
		return tx.SaveQuotas(t.Context(), []store.QuotaAccount{{QuotaKey: keys[0], EndsAt: 1}, {QuotaKey: keys[1], EndsAt: 1}})
	}
	if err := db.Update(t.Context(), save); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context() // a lock that is waited for ends the wait itself
	prune := func(tx *store.Tx) error {
		n, err := tx.PruneQuotas(ctx, 2, 10)
		if n != 1 {
			t.Errorf("%d were pruned beside one that is locked", n)
		}
		return err
	}
	if err := db.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockQuotas(ctx, keys[:1]); err != nil {
			return err
		}
		return db.Update(ctx, prune) // of another connection
	}); err != nil {
		t.Error(err)
	}
}
