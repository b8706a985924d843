package quota

import (
	"context"
	"errors"
	"slices"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// Usage is what counts against one limit of a user's plan.
type Usage struct {
	store.PlanLimit
	// Used is what was told to be spent, Held what instances are allowed besides.
	Used, Held int64
	// By is what each service has spent.
	By       map[string]int64
	ResetsAt int64
}

// Read returns what a user has used, for each limit of the user's plan, in its order. Test traffic, which has the same limits apart,
// isn't in it.
func Read(ctx context.Context, tx *store.Tx, user store.User) ([]Usage, error) {
	plan, err := tx.Plan(ctx, user.Plan)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rows, err := tx.Quotas(ctx, user.ID)
	if err != nil {
		return nil, err
	}
	counted := map[string]store.QuotaAccount{}
	for _, row := range rows {
		if !row.Test {
			counted[row.Resource] = row
		}
	}
	now := tx.Now()
	all := make([]Usage, 0, len(plan.Limits))
	for _, l := range plan.Limits {
		all = append(all, open(counted[l.Resource], resourceOf(plan.Limits, l.Resource), now).usage(l))
	}
	return all, nil
}

func (a *account) usage(l store.PlanLimit) Usage {
	w := a.window(l)
	spent := spentOf(*w)
	return Usage{PlanLimit: l, Used: spent, Held: max(0, w.Used-spent), By: w.By, ResetsAt: endOf(*w)}
}

func spentOf(w store.QuotaWindow) (spent int64) {
	for _, by := range w.By {
		spent = min(spent+by, most)
	}
	return spent
}

// Reset forgets what a user has spent of a resource, or of all when it is "", in the windows that are open, in test traffic too. What instances hold
// unspent stays counted: they may still spend it. It returns what it reset.
func Reset(ctx context.Context, tx *store.Tx, userID, resource string) ([]string, error) {
	rows, err := tx.Quotas(ctx, userID)
	if err != nil {
		return nil, err
	}
	var keys []store.QuotaKey
	for _, row := range rows {
		if resource == "" || row.Resource == resource {
			keys = append(keys, row.QuotaKey)
		}
	}
	locked, err := tx.LockQuotas(ctx, keys)
	if err != nil {
		return nil, err
	}
	reset := []string{}
	accounts := make([]store.QuotaAccount, 0, len(keys))
	for _, key := range keys {
		row, there := locked[key]
		if !there { // it has ended meanwhile
			continue
		}
		for i := range row.Windows {
			w := &row.Windows[i]
			w.Used, w.By = w.Used-spentOf(*w), nil
		}
		accounts, reset = append(accounts, row), append(reset, key.Resource)
	}
	reset = slices.Compact(reset) // test traffic of a resource comes after live
	return reset, tx.SaveQuotas(ctx, accounts)
}
