package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// touch records uses and checks how many were written.
func touch(t *testing.T, db *store.DB, want int64, uses ...store.KeyUse) {
	t.Helper()
	update(t, db, func(tx *store.Tx) error {
		got, err := tx.TouchAPIKeys(t.Context(), uses)
		same(t, want, got)
		return err
	})
}

// lastUse reads when and where a key was used last: how long before the newest possible time.
func lastUse(t *testing.T, db *store.DB, id string) (at int64, service string) {
	t.Helper()
	view(t, db, func(tx *store.Tx) error {
		k, err := tx.APIKey(t.Context(), id)
		if err == nil && k.LastUsedAt != nil {
			at, service = *k.LastUsedAt, k.LastUsedService
		}
		return err
	})
	return at, service
}

func keyUsesAreWritten(t *testing.T, db *store.DB) {
	ada := AddUser(t, db, "ada")
	one, two, three := AddKey(t, db, ada, "one"), AddKey(t, db, ada, "two"), AddKey(t, db, ada, "three")
	nobody := "00000000-0000-7000-8000-000000000000"
	touch(t, db, 0)
	touch(t, db, 2, store.KeyUse{KeyID: two.ID, Service: "jobs", Ago: 10 * time.Second}, store.KeyUse{KeyID: nobody, Service: "cars"},
		store.KeyUse{KeyID: one.ID, Service: "cars", Ago: time.Hour})
	first, service := lastUse(t, db, one.ID)
	second, other := lastUse(t, db, two.ID)
	same(t, []string{"cars", "jobs"}, []string{service, other})
	if gap := second - first; gap != (time.Hour - 10*time.Second).Microseconds() {
		t.Errorf("%d µs between the two", gap)
	}
	if at, _ := lastUse(t, db, three.ID); at != 0 {
		t.Error("a key that wasn't used was")
	}
	// No news: earlier, or hardly later.
	touch(t, db, 0, store.KeyUse{KeyID: one.ID, Service: "late", Ago: 2 * time.Hour}, store.KeyUse{KeyID: two.ID, Service: "late"})
	touch(t, db, 1, store.KeyUse{KeyID: one.ID, Service: "again"})
	if _, service := lastUse(t, db, one.ID); service != "again" {
		t.Errorf("used at %q", service)
	}
}

func keyUsesWaitForNobody(t *testing.T, db *store.DB) {
	if db.Engine() == store.SQLite {
		return // one writer: there are no locked rows to wait for
	}
	ada := AddUser(t, db, "ada")
	locked, free := AddKey(t, db, ada, "one"), AddKey(t, db, ada, "two")
	update(t, db, func(tx *store.Tx) error {
		if _, err := tx.LockAPIKey(t.Context(), locked.ID); err != nil {
			return err
		}
		return db.Update(t.Context(), func(other *store.Tx) error {
			got, err := other.TouchAPIKeys(t.Context(), []store.KeyUse{{KeyID: locked.ID, Service: "cars"}, {KeyID: free.ID, Service: "cars"}})
			same(t, int64(1), got)
			return err
		})
	})
}

func asManyKeyUsesAsMayBe(t *testing.T, db *store.DB) {
	ada := AddUser(t, db, "ada")
	var uses []store.KeyUse
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		uses = nil
		for range store.MaxKeyUses {
			id := tx.NewID()
			hash := []byte(id)
			if err := tx.InsertAPIKey(context.WithoutCancel(t.Context()), store.APIKey{ID: id, UserID: ada.ID, Name: "key", Mode: "live", Hash: hash, Prefix: "p"}); err != nil {
				return err
			}
			uses = append(uses, store.KeyUse{KeyID: id, Service: "cars"})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	touch(t, db, store.MaxKeyUses, uses...)
	touch(t, db, 0, uses...)
}
