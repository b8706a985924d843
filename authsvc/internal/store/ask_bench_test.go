package store_test

import (
	"strconv"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
)

// BenchmarkAsk is one read for some questions about tokens.
func BenchmarkAsk(b *testing.B) {
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		db := storetest.Open(b, storetest.URL(b, engine))
		user := storetest.AddUser(b, db, "vera", "user")
		session := storetest.AddSession(b, db, user)
		for _, n := range []int{1, 8, 32, 64} {
			questions := make([]store.Question, n)
			for i := range questions {
				questions[i] = store.Question{Kid: "kid", Credentials: []store.Credential{{JTI: session.ID, SessionID: session.ID, Subject: user.ID}}}
			}
			b.Run(string(engine)+"/"+strconv.Itoa(n), func(b *testing.B) {
				for b.Loop() {
					if _, err := db.Ask(b.Context(), questions); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
