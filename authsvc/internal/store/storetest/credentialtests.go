package storetest

import (
	"errors"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

func sessionEndsOnce(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada", "user")
	s := AddSession(t, db, u)
	view(t, db, func(tx *store.Tx) error {
		got, user, _, err := tx.SessionWithUser(t.Context(), s.ID)
		same(t, s, got)
		same(t, u, user)
		return err
	})
	update(t, db, func(tx *store.Tx) error {
		if err := tx.TouchSession(t.Context(), s.ID, s.IdleExpiresAt+hour, "192.0.2.2", "other"); err != nil {
			return err
		}
		locked, err := tx.LockSession(t.Context(), s.ID)
		if locked.IdleExpiresAt != s.IdleExpiresAt+hour || locked.IP != "192.0.2.2" || locked.UserAgent != "other" {
			t.Errorf("%+v", locked)
		}
		return err
	})
	for _, want := range []bool{true, false} {
		update(t, db, func(tx *store.Tx) error {
			ended, err := tx.EndSession(t.Context(), s.ID)
			same(t, want, ended)
			return err
		})
	}
	view(t, db, func(tx *store.Tx) error {
		all, err := tx.SessionsOf(t.Context(), u.ID)
		same(t, 0, len(all))
		return err
	})
}

func sessionLife(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada", "user")
	s := AddSession(t, db, u)
	view(t, db, func(tx *store.Tx) error {
		s, u, a, err := tx.SessionWithUser(t.Context(), s.ID)
		if err != nil {
			return err
		}
		now := tx.Now()
		if !s.Alive(u, a, now) {
			t.Error("a new session is dead")
		}
		ended := now
		for name, change := range map[string]func(s *store.Session, u *store.User, a *store.Authority){
			"ended":            func(s *store.Session, _ *store.User, _ *store.Authority) { s.EndedAt = &ended },
			"expired":          func(s *store.Session, _ *store.User, _ *store.Authority) { s.ExpiresAt = now },
			"idle":             func(s *store.Session, _ *store.User, _ *store.Authority) { s.IdleExpiresAt = now },
			"a lower version":  func(_ *store.Session, u *store.User, _ *store.Authority) { u.TV++ },
			"disabled":         func(_ *store.Session, u *store.User, _ *store.Authority) { u.Disabled = true },
			"another's":        func(_ *store.Session, u *store.User, _ *store.Authority) { u.ID = s.ID },
			"before the mark":  func(_ *store.Session, _ *store.User, a *store.Authority) { a.TokensBefore = now/1000 + 1 },
			"an id of no time": func(s *store.Session, _ *store.User, _ *store.Authority) { s.ID = "x" },
		} {
			s, u, a := s, u, a
			change(&s, &u, &a)
			if s.Alive(u, a, now) {
				t.Errorf("alive although %s", name)
			}
		}
		a.KeysBefore = now/1000 + 1
		if !s.Alive(u, a, now) {
			t.Error("dead because of a mark for keys")
		}
		return nil
	})
}

func refreshTokenIsUsedOnce(t *testing.T, db *store.DB) {
	s := AddSession(t, db, AddUser(t, db, "ada"))
	want := store.RefreshToken{Hash: []byte{0, 1, 255}, SessionID: s.ID, Generation: 1, CreatedAt: 5}
	update(t, db, func(tx *store.Tx) error { return tx.InsertRefreshToken(t.Context(), want) })
	update(t, db, func(tx *store.Tx) error {
		got, err := tx.RefreshToken(t.Context(), want.Hash)
		same(t, want, got)
		if err != nil {
			return err
		}
		got, session, user, err := tx.LockFamily(t.Context(), want.Hash)
		same(t, want, got)
		same(t, s, session)
		same(t, s.UserID, user.ID)
		if err != nil {
			return err
		}
		if _, _, _, err := tx.LockFamily(t.Context(), []byte("other")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("no such token: %v", err)
		}
		if err := tx.UseRefreshToken(t.Context(), want.Hash); err != nil {
			return err
		}
		got, err = tx.RefreshToken(t.Context(), want.Hash)
		same(t, tx.Now(), *got.UsedAt)
		return err
	})
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		other := want
		other.Hash = []byte("other")
		return tx.InsertRefreshToken(t.Context(), other) // the same generation
	})
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("%v", err)
	}
}

func oldSessionsArePruned(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada")
	gone, kept := AddSession(t, db, u), AddSession(t, db, u)
	update(t, db, func(tx *store.Tx) error {
		_, err := tx.EndSession(t.Context(), gone.ID)
		return err
	})
	update(t, db, func(tx *store.Tx) error {
		n, err := tx.PruneSessions(t.Context(), tx.Now()+second, 10)
		same(t, int64(1), n)
		return err
	})
	view(t, db, func(tx *store.Tx) error {
		if _, err := tx.Session(t.Context(), gone.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%v", err)
		}
		_, err := tx.Session(t.Context(), kept.ID)
		return err
	})
}

func oldKeysArePruned(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada")
	gone, dying, kept := AddKey(t, db, u, "gone"), AddKey(t, db, u, "dying"), AddKey(t, db, u, "kept")
	update(t, db, func(tx *store.Tx) error {
		for key, end := range map[string]int64{gone.ID: tx.Now() - hour, dying.ID: tx.Now()} {
			if _, err := tx.EndAPIKey(t.Context(), key, end, ""); err != nil {
				return err
			}
		}
		n, err := tx.PruneAPIKeys(t.Context(), tx.Now()-second, 10)
		same(t, int64(1), n)
		return err
	})
	view(t, db, func(tx *store.Tx) error {
		keys, err := tx.APIKeysOf(t.Context(), u.ID)
		if len(keys) != 2 || keys[0].ID != kept.ID || keys[1].ID != dying.ID {
			t.Errorf("%+v", keys)
		}
		return err
	})
}

func keyIsReadAsWritten(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada", "user")
	k := AddKey(t, db, u, "one")
	update(t, db, func(tx *store.Tx) error {
		got, user, _, err := tx.APIKeyWithUser(t.Context(), k.Hash)
		same(t, k, got)
		same(t, u, user)
		if err != nil {
			return err
		}
		if err := tx.RenameAPIKey(t.Context(), k.ID, "two"); err != nil {
			return err
		}
		kv, err := tx.SetAPIKeySuspended(t.Context(), k.ID, true, true)
		if err != nil {
			return err
		}
		got, err = tx.LockAPIKey(t.Context(), k.ID)
		if got.Name != "two" || !got.Suspended || !got.Held || got.KV != kv || kv <= k.KV || got.LastUsedService != "" || got.LastUsedAt != nil {
			t.Errorf("%+v", got)
		}
		return err
	})
	update(t, db, func(tx *store.Tx) error { return tx.DeleteAPIKey(t.Context(), k.ID) })
	view(t, db, func(tx *store.Tx) error {
		if _, _, _, err := tx.APIKeyWithUser(t.Context(), k.Hash); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%v", err)
		}
		return nil
	})
}

// What releases without held write is refused where it would let go of a key that is.
func heldKeyIsSuspended(t *testing.T, db *store.DB) {
	k := AddKey(t, db, AddUser(t, db, "ada", "user"), "one")
	set := func(suspended, held bool) error {
		return db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.SetAPIKeySuspended(t.Context(), k.ID, suspended, held)
			return err
		})
	}
	if err := set(true, true); err != nil {
		t.Fatal(err)
	}
	if err := set(false, true); err == nil {
		t.Error("a held key isn't suspended")
	}
	if err := set(false, false); err != nil {
		t.Error(err)
	}
}

func keyLife(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada", "user")
	k := AddKey(t, db, u, "one")
	view(t, db, func(tx *store.Tx) error {
		k, u, a, err := tx.APIKeyWithUser(t.Context(), k.Hash)
		if err != nil {
			return err
		}
		now := tx.Now()
		if !k.Alive(u, a, now) {
			t.Error("a new key is dead")
		}
		for name, change := range map[string]func(k *store.APIKey, u *store.User, a *store.Authority){
			"suspended":        func(k *store.APIKey, _ *store.User, _ *store.Authority) { k.Suspended = true },
			"past its end":     func(k *store.APIKey, _ *store.User, _ *store.Authority) { k.NotAfter = &now },
			"a lower version":  func(k *store.APIKey, u *store.User, _ *store.Authority) { u.KeysTV = k.TV + 1 },
			"disabled":         func(_ *store.APIKey, u *store.User, _ *store.Authority) { u.Disabled = true },
			"another's":        func(_ *store.APIKey, u *store.User, _ *store.Authority) { u.ID = k.ID },
			"before the mark":  func(_ *store.APIKey, _ *store.User, a *store.Authority) { a.KeysBefore = now/1000 + 1 },
			"an id of no time": func(k *store.APIKey, _ *store.User, _ *store.Authority) { k.ID = "" },
		} {
			k, u, a := k, u, a
			change(&k, &u, &a)
			if k.Alive(u, a, now) {
				t.Errorf("alive although %s", name)
			}
		}
		u.TV, a.TokensBefore = k.TV+1, now/1000+1
		if !k.Alive(u, a, now) {
			t.Error("dead because of tokens")
		}
		return nil
	})
}

func keyEndOnlyComesNearer(t *testing.T, db *store.DB) {
	k := AddKey(t, db, AddUser(t, db, "ada"), "one")
	for _, step := range []struct{ ask, want int64 }{{500, 500}, {900, 500}, {300, 300}} {
		update(t, db, func(tx *store.Tx) error {
			got, err := tx.EndAPIKey(t.Context(), k.ID, step.ask, "")
			same(t, step.want, got)
			return err
		})
	}
	update(t, db, func(tx *store.Tx) error {
		if _, err := tx.EndAPIKey(t.Context(), k.ID, 400, "next"); err != nil {
			return err
		}
		got, err := tx.APIKey(t.Context(), k.ID)
		same(t, "next", got.Successor)
		same(t, int64(300), *got.NotAfter)
		return err
	})
}

func keysAreListed(t *testing.T, db *store.DB) {
	ada, bob := AddUser(t, db, "ada"), AddUser(t, db, "bob")
	one, two, three := AddKey(t, db, ada, "one"), AddKey(t, db, ada, "ONE"), AddKey(t, db, bob, "three")
	var by int64
	update(t, db, func(tx *store.Tx) error {
		by = tx.Now() + hour
		_, err := tx.EndAPIKey(t.Context(), three.ID, by, "")
		return err
	})
	list := func(f store.KeyFilter, after string, limit int) (ids []string) {
		view(t, db, func(tx *store.Tx) error {
			keys, err := tx.APIKeys(t.Context(), f, after, limit)
			for _, k := range keys {
				ids = append(ids, k.ID)
			}
			return err
		})
		return ids
	}
	same(t, []string{one.ID, two.ID}, list(store.KeyFilter{}, "", 2))
	same(t, []string{three.ID}, list(store.KeyFilter{}, two.ID, 2))
	same(t, []string{one.ID}, list(store.KeyFilter{Prefix: "tcs_live_o"}, "", 9)) // case matters
	same(t, []string{three.ID}, list(store.KeyFilter{UserID: bob.ID}, "", 9))
	same(t, []string{three.ID}, list(store.KeyFilter{ExpiringBy: by}, "", 9))
	same(t, []string(nil), list(store.KeyFilter{ExpiringBy: by - 1}, "", 9))
	view(t, db, func(tx *store.Tx) error {
		keys, err := tx.APIKeysOf(t.Context(), ada.ID)
		same(t, 2, len(keys))
		return err
	})
}
