package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

func same(t testing.TB, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("want -, got +:\n%s", diff)
	}
}

func userIsReadAsWritten(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada", "user", "admin")
	update(t, db, func(tx *store.Tx) error {
		got, err := tx.User(t.Context(), u.ID)
		same(t, u, got)
		if err != nil {
			return err
		}
		got, err = db.UserByName(t.Context(), "ada")
		same(t, u, got)
		if err != nil {
			return err
		}
		got, err = tx.LockUser(t.Context(), u.ID)
		same(t, u, got)
		return err
	})
	update(t, db, func(tx *store.Tx) error { return tx.SetPassword(t.Context(), u.ID, "other") })
	view(t, db, func(tx *store.Tx) error {
		got, err := tx.User(t.Context(), u.ID)
		same(t, "other", got.PasswordHash)
		if _, missing := tx.User(t.Context(), "nobody"); !errors.Is(missing, store.ErrNotFound) {
			t.Fatalf("%v", missing)
		}
		return err
	})
}

func usernameIsTakenOnce(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada")
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		again := u
		again.ID = tx.NewID()
		return tx.InsertUser(t.Context(), again)
	})
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("%v", err)
	}
}

func usersArePagedAndSearched(t *testing.T, db *store.DB) {
	var want []string
	for i := range 7 {
		want = append(want, AddUser(t, db, fmt.Sprintf("user_%d", i)).Username)
	}
	AddUser(t, db, "userx9")
	var got []string
	after := ""
	for {
		var page []store.User
		view(t, db, func(tx *store.Tx) (err error) {
			page, err = tx.Users(t.Context(), "USER_", after, 3) // the underscore means itself
			return err
		})
		if len(page) == 0 {
			break
		}
		for _, u := range page {
			got = append(got, u.Username)
		}
		after = page[len(page)-1].ID
	}
	same(t, want, got)
	view(t, db, func(tx *store.Tx) error {
		first, err := db.UserByName(t.Context(), got[0])
		if err != nil {
			return err
		}
		page, err := tx.Users(t.Context(), first.ID, "", 3)
		if len(page) != 1 || page[0].ID != first.ID {
			t.Errorf("by id: %+v", page)
		}
		return err
	})
}

func versionsOnlyRise(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada", "user")
	future := u.TV + hour // as after a step back of the clock
	update(t, db, func(tx *store.Tx) error {
		_, err := tx.BumpTokens(t.Context(), []store.User{{ID: u.ID, TV: future}}, true)
		return err
	})
	update(t, db, func(tx *store.Tx) error {
		locked, err := tx.LockUser(t.Context(), u.ID)
		if err != nil {
			return err
		}
		same(t, future+1, locked.TV)
		same(t, future+1, locked.KeysTV)
		tv, err := tx.BumpTokens(t.Context(), []store.User{locked}, false)
		same(t, future+2, tv)
		if err != nil {
			return err
		}
		rv, err := tx.SetAuthorization(t.Context(), u.ID, []string{"clerk"}, "pro", true)
		if err != nil {
			return err
		}
		next, err := tx.SetAuthorization(t.Context(), u.ID, []string{"clerk"}, "pro", true)
		if rv <= u.RV || next != rv+1 {
			t.Errorf("rv %d after %d, then %d", rv, u.RV, next)
		}
		return err
	})
	view(t, db, func(tx *store.Tx) error {
		got, err := tx.User(t.Context(), u.ID)
		same(t, future+1, got.KeysTV)
		same(t, []string{"clerk"}, got.Roles)
		if !got.Disabled || got.Plan != "pro" {
			t.Errorf("%+v", got)
		}
		return err
	})
}

func adminsAreCounted(t *testing.T, db *store.DB) {
	AddUser(t, db, "a.a", "user", store.RoleAdmin)
	off := AddUser(t, db, "b.b", store.RoleAdmin, "user")
	AddUser(t, db, "c.c", "admins", "sub-admin", "admin_")
	update(t, db, func(tx *store.Tx) error {
		_, err := tx.SetAuthorization(t.Context(), off.ID, off.Roles, off.Plan, true)
		if err != nil {
			return err
		}
		all, err := tx.CountAdmins(t.Context())
		if err != nil {
			return err
		}
		enabled, err := tx.LockAdmins(t.Context())
		same(t, []int{2, 1}, []int{all, enabled})
		return err
	})
}

func usersOfAListShareOneVersion(t *testing.T, db *store.DB) {
	a, b := AddUser(t, db, "a.a", "user", "clerk"), AddUser(t, db, "b.b", "clerk")
	AddUser(t, db, "c.c", "clerks")
	AddUser(t, db, "d.d", "user")
	update(t, db, func(tx *store.Tx) error {
		users, err := tx.LockUsers(t.Context(), []string{b.ID, a.ID, b.ID, "nobody"})
		if err != nil {
			return err
		}
		same(t, []store.User{a, b}, users)
		byID, err := tx.UsersByID(t.Context(), []string{a.ID, "nobody", b.ID})
		if err != nil {
			return err
		}
		same(t, map[string]store.User{a.ID: a, b.ID: b}, byID)
		tv, err := tx.BumpTokens(t.Context(), users, true)
		if err != nil {
			return err
		}
		for _, id := range []string{a.ID, b.ID} {
			u, err := tx.User(t.Context(), id)
			if err != nil {
				return err
			}
			if u.TV != tv || u.KeysTV != tv || tv <= max(a.TV, b.TV) {
				t.Errorf("tv %d: %+v", tv, u)
			}
		}
		return nil
	})
}

func deletingAUser(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada")
	s, k := AddSession(t, db, u), AddKey(t, db, u, "one")
	update(t, db, func(tx *store.Tx) error {
		return tx.InsertRefreshToken(t.Context(), store.RefreshToken{Hash: []byte("h"), SessionID: s.ID, Generation: 1, CreatedAt: 1})
	})
	update(t, db, func(tx *store.Tx) error { return tx.DeleteUser(t.Context(), u.ID) })
	view(t, db, func(tx *store.Tx) error {
		_, user := tx.User(t.Context(), u.ID)
		_, session := tx.Session(t.Context(), s.ID)
		_, key := tx.APIKey(t.Context(), k.ID)
		_, refresh := tx.RefreshToken(t.Context(), []byte("h"))
		for _, err := range []error{user, session, key, refresh} {
			if !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%v", err)
			}
		}
		return nil
	})
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.DeleteUser(t.Context(), u.ID) }); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("%v", err)
	}
}
