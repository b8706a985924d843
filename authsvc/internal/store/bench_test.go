package store_test

import (
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

func BenchmarkStore(b *testing.B) {
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		db := storetest.Open(b, storetest.URL(b, engine))
		u := storetest.AddUser(b, db, "ada", "user")
		s := storetest.AddSession(b, db, u)
		for name, run := range map[string]func() error{
			"look up a session": func() error {
				return db.View(b.Context(), func(tx *store.Tx) error {
					_, _, _, err := tx.SessionWithUser(b.Context(), s.ID)
					return err
				})
			},
			"revoke a user's tokens": func() error {
				return db.Update(b.Context(), func(tx *store.Tx) error {
					u, err := tx.LockUser(b.Context(), u.ID)
					if err != nil {
						return err
					}
					tv, err := tx.BumpTokens(b.Context(), []store.User{u}, false)
					if err != nil {
						return err
					}
					_, err = tx.InsertEvent(b.Context(), store.NewEvent{Target: "user:" + u.ID, Payload: events.TokenRevoked{UserID: u.ID, TV: tv}})
					return err
				})
			},
			"issue": func() error {
				return db.Issue(b.Context(), time.Minute, func(tx *store.Tx, _ store.Authority) error {
					return tx.TouchSession(b.Context(), s.ID, tx.Now(), tx.NewID(), "")
				})
			},
		} {
			b.Run(string(engine)+"/"+name, func(b *testing.B) {
				for b.Loop() {
					if err := run(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
