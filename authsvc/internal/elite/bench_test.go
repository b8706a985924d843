package elite

import (
	"encoding/json"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// BenchmarkCheck is one client's question and answer over loopback NATS, the query and the signature included.
func BenchmarkCheck(b *testing.B) {
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		b.Run(string(engine), func(b *testing.B) {
			s := newSceneOn(b, engine, nil)
			r := s.token()
			r.Nonce = events.NewNonce()
			body, err := json.Marshal(r)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				m, err := s.cars.Request(events.CheckSubject("cars"), body, within)
				if err != nil || m.Header.Get(events.HeaderError) != "" {
					b.Fatalf("%v, %v", m, err)
				}
			}
		})
	}
}
