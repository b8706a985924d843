package auth

import (
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
)

// One worker's exchanges: alone, and many at once, which on PostgreSQL wait for each other's lock of the worker's user.
func BenchmarkExchange(b *testing.B) {
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		b.Run(string(engine), func(b *testing.B) {
			w := newWorld(b, storetest.URL(b, engine))
			user := w.register(b, "vera")
			s := &scene{world: w, user: user.User, key: user.Keys[0], a: w.login(b, "vera")}
			s.hire(b)
			grant, _ := s.exchange(b, s.wantGrantOfKey())
			b.Run("alone", func(b *testing.B) {
				for b.Loop() {
					s.exchange(b, use(grant))
				}
			})
			b.Run("at once", func(b *testing.B) {
				b.SetParallelism(16)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := s.Exchange(b.Context(), s.client, use(grant)); err != nil {
							b.Error(err)
						}
					}
				})
			})
		})
	}
}

// What it costs to end the grants of 64 jobs: spent in one call, or revoked one by one, each with an event for every verifier.
func BenchmarkEndOfGrants(b *testing.B) {
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		b.Run(string(engine), func(b *testing.B) {
			w := newWorld(b, storetest.URL(b, engine))
			user := w.register(b, "vera")
			s := &scene{world: w, user: user.User, key: user.Keys[0], a: w.login(b, "vera")}
			s.hire(b)
			for name, end := range map[string]func(grants []string) error{
				"spent": func(grants []string) error { return w.SpendGrants(b.Context(), s.client, grants) },
				"revoked": func(grants []string) error {
					for _, grant := range grants {
						if _, err := w.RevokeToken(b.Context(), s.client, grant); err != nil {
							return err
						}
					}
					return nil
				},
			} {
				b.Run(name, func(b *testing.B) {
					for b.Loop() {
						b.StopTimer()
						grants := make([]string, MaxSpent)
						for i := range grants {
							grant, _ := s.exchange(b, s.wantGrantOfKey())
							grants[i] = grant.AccessToken
						}
						b.StartTimer()
						if err := end(grants); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}
