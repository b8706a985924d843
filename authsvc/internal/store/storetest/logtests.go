package storetest

import (
	"encoding/json"
	"errors"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

func eventIsReadAsWritten(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada")
	target := "user:" + u.ID
	payload := events.TokenRevoked{UserID: u.ID, TV: 7}
	var id string
	update(t, db, func(tx *store.Tx) (err error) {
		id, err = tx.InsertEvent(t.Context(), store.NewEvent{Payload: payload, Target: target, Actor: "system", Reason: "test"})
		return err
	})
	view(t, db, func(tx *store.Tx) error {
		e, err := tx.Event(t.Context(), id)
		if err != nil {
			return err
		}
		var got events.TokenRevoked
		if err := json.Unmarshal(e.Payload, &got); err != nil {
			t.Error(err)
		}
		same(t, payload, got)
		if e.Type != events.TypeTokenRevoked || e.Target != target || e.Actor != "system" || e.Reason != "test" || e.Seq != 0 || e.CreatedAt == 0 {
			t.Errorf("%+v", e)
		}
		live, err := tx.LiveEvent(t.Context(), target, events.TypeTokenRevoked)
		if err != nil {
			return err
		}
		same(t, e, live)
		if _, err := tx.LiveEvent(t.Context(), target, events.TypeRoleChanged); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%v", err)
		}
		return nil
	})
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.InsertEvent(t.Context(), store.NewEvent{Payload: events.TokenRevoked{}, Target: target})
		return err
	})
	if !errors.Is(err, events.ErrInvalid) {
		t.Fatalf("an event without a selector: %v", err)
	}
}

// largeEventIsRefused numbers the largest event that is taken, and finds one byte more refused.
func largeEventIsRefused(t *testing.T, db *store.DB) {
	insert := func(roles int) error {
		return db.Update(t.Context(), func(tx *store.Tx) error {
			payload := events.RoleChanged{UserID: tx.NewID(), RV: 1, Roles: []string{strings.Repeat("x", roles)}, Plan: "free"}
			_, err := tx.InsertEvent(t.Context(), store.NewEvent{Payload: payload, Target: "user:x"})
			return err
		})
	}
	largest := sort.Search(events.MaxEventSize, func(n int) bool { return insert(n+1) != nil })
	if err := insert(largest + 1); !errors.Is(err, events.ErrInvalid) {
		t.Fatalf("%d bytes: %v", largest+1, err)
	}
	if largest < events.MaxEventSize-512 {
		t.Errorf("%d bytes are the most that is taken", largest)
	}
	lease, err := db.AcquireFeed(t.Context(), store.LeaseRequest{Holder: "test", Issuer: "x", Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	n, err := db.NumberEvents(t.Context(), store.NumberRequest{Term: lease.Term, At: lease.FeedPosition, Life: time.Hour})
	if err != nil || len(n.Rows) == 0 || n.More {
		t.Fatalf("%d numbered, more %t: %v", len(n.Rows), n.More, err)
	}
}

func eventOfManyUsersIsSplit(t *testing.T, db *store.DB) {
	update(t, db, func(tx *store.Tx) error {
		var users, got []string
		for range 2*store.MaxEventUsers + 1 {
			users = append(users, tx.NewID())
		}
		ids, err := tx.InsertEvents(t.Context(), store.NewEvent{Target: "users", Payload: events.TokenRevoked{UserIDs: users, TV: 9, Keys: true}})
		if err != nil {
			return err
		}
		same(t, 3, len(ids))
		for _, id := range ids {
			e, err := tx.Event(t.Context(), id)
			if err != nil {
				return err
			}
			if _, err := events.EncodeEvent(1<<40, e.Type, 1, 2, e.Payload); err != nil {
				t.Error(err)
			}
			var p events.TokenRevoked
			if err := json.Unmarshal(e.Payload, &p); err != nil || p.TV != 9 || !p.Keys {
				t.Errorf("%+v %v", p, err)
			}
			got = append(got, p.UserIDs...)
		}
		same(t, users, got)
		if !slices.IsSorted(ids) {
			t.Errorf("ids out of order: %v", ids)
		}
		return nil
	})
}

// pages reads a list newest first, two at a time.
func pages(t *testing.T, db *store.DB, read func(tx *store.Tx, before string) ([]string, error)) (all []string) {
	before := ""
	for {
		var page []string
		view(t, db, func(tx *store.Tx) (err error) {
			page, err = read(tx, before)
			return err
		})
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		before = page[len(page)-1]
	}
}

func revocationsArePaged(t *testing.T, db *store.DB) {
	var want []string
	for range 5 {
		update(t, db, func(tx *store.Tx) error {
			id, err := tx.InsertEvent(t.Context(), store.NewEvent{Target: "before", Payload: events.TokenRevoked{Before: 1}})
			want = append(want, id)
			return err
		})
	}
	update(t, db, func(tx *store.Tx) error {
		_, err := tx.InsertEvent(t.Context(), store.NewEvent{Target: "keys", Payload: events.KeysChanged{Hash: events.HashOf(nil)}})
		return err
	})
	slices.Reverse(want)
	same(t, want, pages(t, db, func(tx *store.Tx, before string) (ids []string, err error) {
		page, err := tx.LiveRevocations(t.Context(), before, 2)
		for _, e := range page {
			ids = append(ids, e.ID)
		}
		return ids, err
	}))
}

func auditIsPaged(t *testing.T, db *store.DB) {
	for _, action := range []string{"one", "two", "three"} {
		update(t, db, func(tx *store.Tx) error {
			return tx.InsertAudit(t.Context(), store.AuditEntry{Actor: "system", Action: action, Target: "user:x", IP: "::1"})
		})
	}
	var actions []string
	pages(t, db, func(tx *store.Tx, before string) (ids []string, err error) {
		page, err := tx.Audit(t.Context(), before, 2)
		for _, e := range page {
			if e.At == 0 || e.Actor != "system" || e.Target != "user:x" || e.IP != "::1" || e.Detail != "{}" {
				t.Errorf("%+v", e)
			}
			ids, actions = append(ids, e.ID), append(actions, e.Action)
		}
		return ids, err
	})
	same(t, []string{"three", "two", "one"}, actions)
}

func auditIsPruned(t *testing.T, db *store.DB) {
	var cut time.Time
	for n, action := range []string{"one", "two", "three", "four", "five"} {
		update(t, db, func(tx *store.Tx) error {
			id, err := tx.OpenAudit(t.Context(), store.AuditEntry{Actor: "system", Action: action, Target: "user:x"})
			if err != nil || n != 3 {
				return err
			}
			parsed, err := events.ParseID(id)
			cut = time.UnixMilli(parsed.Millis())
			return err
		})
		waitMillisecond(t, db)
	}
	for _, want := range []int64{2, 1, 0} {
		update(t, db, func(tx *store.Tx) error {
			found, err := tx.AuditBefore(t.Context(), cut)
			if err != nil {
				return err
			}
			n, err := tx.PruneAudit(t.Context(), cut, 2)
			same(t, want, n)
			same(t, want > 0, found)
			return err
		})
	}
	view(t, db, func(tx *store.Tx) error {
		left, err := tx.Audit(t.Context(), "", 10)
		if len(left) != 2 || left[0].Action != "five" || left[1].Action != "four" {
			t.Errorf("%+v", left)
		}
		return err
	})
}

// waitMillisecond returns when ids have another time: when the database's clock has gone on.
func waitMillisecond(t *testing.T, db *store.DB) {
	t.Helper()
	millis := func() (now int64) {
		view(t, db, func(tx *store.Tx) error { now = tx.Now() / 1000; return nil })
		return now
	}
	for begun := millis(); millis() == begun; {
		continue
	}
}

func servicesHaveUniqueNames(t *testing.T, db *store.DB) {
	update(t, db, func(tx *store.Tx) error {
		return errors.Join(tx.InsertService(t.Context(), store.Service{Name: "jobs", NKey: "U1"}),
			tx.InsertService(t.Context(), store.Service{Name: "cars", NKey: "U2"}))
	})
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		return tx.InsertService(t.Context(), store.Service{Name: "cars", NKey: "U3"})
	})
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("%v", err)
	}
	update(t, db, func(tx *store.Tx) error { return tx.SetServiceNKey(t.Context(), "cars", "U4") })
	view(t, db, func(tx *store.Tx) error {
		all, err := tx.Services(t.Context())
		if err != nil {
			return err
		}
		if len(all) != 2 || all[0].Name != "cars" || all[0].NKey != "U4" || all[0].CreatedAt == 0 {
			t.Errorf("%+v", all)
		}
		one, err := tx.Service(t.Context(), "cars")
		same(t, all[0], one)
		return err
	})
	update(t, db, func(tx *store.Tx) error { return tx.DeleteService(t.Context(), "cars") })
	err = db.Update(t.Context(), func(tx *store.Tx) error { return tx.DeleteService(t.Context(), "cars") })
	if !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("%v", err)
	}
}

func retiredKidNeverComesBack(t *testing.T, db *store.DB) {
	key := store.SigningKey{KID: "kid", Purpose: store.PurposeToken, Alg: "EdDSA", PublicJWK: "{}", Sealed: []byte{1}, CreatedAt: 1, ActiveAt: 2}
	var version int64
	insert := func(tx *store.Tx) (err error) {
		if version, err = tx.BumpKeySetVersion(t.Context()); err != nil {
			return err
		}
		if version < tx.Now() {
			t.Errorf("version %d may have been given before, in a history that was lost", version)
		}
		return tx.InsertSigningKey(t.Context(), key)
	}
	update(t, db, insert)
	update(t, db, func(tx *store.Tx) error { return tx.SetRetireAt(t.Context(), "kid", 9) })
	view(t, db, func(tx *store.Tx) error {
		all, err := tx.SigningKeys(t.Context())
		retire := int64(9)
		want := key
		want.RetireAt = &retire
		same(t, []store.SigningKey{want}, all)
		a, err2 := tx.Authority(t.Context())
		same(t, version, a.KeySetVersion)
		return errors.Join(err, err2)
	})
	update(t, db, func(tx *store.Tx) error { return tx.RetireSigningKey(t.Context(), "kid") })
	if err := db.Update(t.Context(), insert); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("%v", err)
	}
}

func secretsAreKeptOnce(t *testing.T, db *store.DB) {
	has := func() (has bool) {
		view(t, db, func(tx *store.Tx) (err error) { has, err = tx.HasSecrets(t.Context()); return err })
		return has
	}
	same(t, false, has())
	update(t, db, func(tx *store.Tx) error { return tx.InsertSecret(t.Context(), "refresh", []byte{0, 1}) })
	same(t, true, has())
	err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.InsertSecret(t.Context(), "refresh", []byte{2}) })
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("%v", err)
	}
	view(t, db, func(tx *store.Tx) error {
		got, err := tx.Secret(t.Context(), "refresh")
		same(t, []byte{0, 1}, got)
		return err
	})
}
