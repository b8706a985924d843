package storetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

func plansAreReplaced(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada")
	limits := []store.PlanLimit{{Resource: "jobs", Limit: 5, Seconds: 60}, {Resource: "jobs", Limit: 50, Seconds: 3600}}
	update(t, db, func(tx *store.Tx) error {
		return tx.SetPlans(t.Context(), []store.Plan{{Name: "free", Limits: limits}, {Name: "gone", Limits: limits[:1]}})
	})
	update(t, db, func(tx *store.Tx) error {
		return tx.SetPlans(t.Context(), []store.Plan{{Name: "pro", Limits: []store.PlanLimit{}}, {Name: "free", Limits: limits}})
	})
	view(t, db, func(tx *store.Tx) error {
		plans, err := tx.Plans(t.Context())
		same(t, []store.Plan{{Name: "free", Limits: limits}, {Name: "pro", Limits: []store.PlanLimit{}}}, plans)
		return err
	})
	found, now, err := db.Limits(t.Context(), []string{"nobody", u.ID})
	if err != nil || now == 0 {
		t.Fatal(now, err)
	}
	same(t, map[string][]store.PlanLimit{"nobody": {}, u.ID: limits}, found)
}

func quotaRows(user string, n int64) (store.QuotaAccount, store.QuotaHolder) {
	key := store.QuotaKey{UserID: user, Resource: "jobs", Test: n%2 == 1}
	return store.QuotaAccount{QuotaKey: key, Term: n, Holders: n + 1, Counted: n + 2, EndsAt: n + 3,
			Windows: []store.QuotaWindow{{Seconds: 60, Start: n, Since: n + 1, Used: n, By: map[string]int64{"cars": n, "jobs": 1}}}},
		store.QuotaHolder{HolderKey: store.HolderKey{ServiceKey: store.ServiceKey{QuotaKey: key, Service: "cars"}, Start: user}, Seq: n,
			Present: store.QuotaCharge{Term: n + 1, Spent: n + 2, Held: n + 3}, Met: n%2 == 0,
			Before: store.QuotaCharge{Term: n + 4, Spent: n + 5, Held: n + 6}, AskedAt: n + 7}
}

func quotasAreReadAsWritten(t *testing.T, db *store.DB) {
	users := []string{`b"\'`, "a", "é\U0001F600"}
	for n := range int64(3) { // made, and changed twice
		var accounts []store.QuotaAccount
		var holders []store.QuotaHolder
		var keys []store.QuotaKey
		var names []store.HolderKey
		for i, user := range users {
			a, h := quotaRows(user, n<<40+int64(i))
			accounts, holders, keys, names = append(accounts, a), append(holders, h), append(keys, a.QuotaKey), append(names, h.HolderKey)
		}
		update(t, db, func(tx *store.Tx) error {
			if _, err := tx.LockQuotas(t.Context(), append(keys, keys...)); err != nil {
				return err
			}
			if err := tx.SaveQuotas(t.Context(), accounts); err != nil {
				return err
			}
			return tx.SaveQuotaHolders(t.Context(), holders)
		})
		update(t, db, func(tx *store.Tx) error {
			locked, err := tx.LockQuotas(t.Context(), keys)
			if err != nil {
				return err
			}
			held, err := tx.QuotaHolders(t.Context(), names)
			for i := range users {
				same(t, accounts[i], locked[keys[i]])
				same(t, holders[i], held[names[i]])
			}
			return err
		})
	}
}

func endedQuotasArePruned(t *testing.T, db *store.DB) {
	update(t, db, func(tx *store.Tx) error {
		for i := range int64(5) {
			a, h := quotaRows(fmt.Sprint(i), 0)
			a.EndsAt, h.AskedAt = i, i
			if err := tx.SaveQuotas(t.Context(), []store.QuotaAccount{a}); err != nil {
				return err
			}
			if err := tx.SaveQuotaHolders(t.Context(), []store.QuotaHolder{h}); err != nil {
				return err
			}
		}
		for _, want := range []int64{2, 1, 0} {
			n, err := tx.PruneQuotas(t.Context(), 3, 2)
			if err != nil {
				return err
			}
			same(t, want, n)
		}
		left, err := tx.Quotas(t.Context(), "3")
		same(t, 1, len(left))
		return err
	})
}

func deletedUsersHaveNoQuotas(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada")
	a, h := quotaRows(u.ID, 1)
	update(t, db, func(tx *store.Tx) error {
		if err := tx.SaveQuotas(t.Context(), []store.QuotaAccount{a}); err != nil {
			return err
		}
		return tx.SaveQuotaHolders(t.Context(), []store.QuotaHolder{h})
	})
	update(t, db, func(tx *store.Tx) error { return tx.DeleteUser(t.Context(), u.ID) })
	update(t, db, func(tx *store.Tx) error {
		accounts, err := tx.Quotas(t.Context(), u.ID)
		if err != nil {
			return err
		}
		holders, err := tx.QuotaHolders(t.Context(), []store.HolderKey{h.HolderKey})
		same(t, 0, len(accounts)+len(holders))
		return err
	})
}

// quotasAreCountedOneAfterTheOther has many transactions count the same and other accounts, in every order.
func quotasAreCountedOneAfterTheOther(t *testing.T, db *store.DB) {
	const rounds, users = 10, 6
	key := func(n int) store.QuotaKey { return store.QuotaKey{UserID: fmt.Sprint(n % users), Resource: "jobs"} }
	atOnce(t, 8, func(ctx context.Context, i int) error {
		for round := range rounds {
			keys := []store.QuotaKey{key(i + round), key(i + 3*round + 1), key(i * round)}
			err := db.CountQuotas(ctx, keys, func(tx *store.Tx, locked map[store.QuotaKey]store.QuotaAccount) error {
				var all []store.QuotaAccount
				for _, a := range locked {
					a.Holders++
					all = append(all, a)
				}
				return tx.SaveQuotas(ctx, all)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	var want, got int64
	for i := range 8 {
		for round := range rounds {
			distinct := map[store.QuotaKey]bool{key(i + round): true, key(i + 3*round + 1): true, key(i * round): true}
			want += int64(len(distinct))
		}
	}
	view(t, db, func(tx *store.Tx) error {
		for n := range users {
			accounts, err := tx.Quotas(t.Context(), fmt.Sprint(n))
			if err != nil {
				return err
			}
			for _, a := range accounts {
				got += a.Holders
			}
		}
		return nil
	})
	same(t, want, got)
}
