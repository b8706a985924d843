package quota

import (
	"slices"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	benchUsers     = 1000
	benchInstances = 3
	benchTogether  = 4 // questions in a transaction, as elite has it under load
)

// BenchmarkASecond is what a fleet of three instances tells in a second of a thousand active users, each with two limits.
func BenchmarkASecond(b *testing.B) {
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		b.Run(string(engine), func(b *testing.B) {
			w := newWorld(b, engine, []store.PlanLimit{per(60, 1<<30), per(86400, 1<<35)})
			fleet := newBenchFleet(b, w)
			fleet.second(b, w)
			for b.Loop() {
				fleet.second(b, w)
			}
			b.ReportMetric(float64(b.N*benchUsers*benchInstances)/b.Elapsed().Seconds(), "reports/s")
		})
	}
}

// benchFleet is the questions of a second, which go on from second to second.
type benchFleet struct{ batches [][]Question }

func newBenchFleet(b *testing.B, w *world) *benchFleet {
	var users []string
	for range benchUsers {
		users = append(users, storetest.AddUser(b, w.db, events.NewNonce()).ID)
	}
	var questions []Question
	for range benchInstances {
		start := events.NewNonce()
		for some := range slices.Chunk(users, events.MaxQuotaEntries) {
			q := Question{Service: "cars", QuotaRequest: events.QuotaRequest{StartNonce: start}}
			for _, user := range some {
				q.Entries = append(q.Entries, events.QuotaEntry{Subject: user, Resource: resource, Want: 5})
			}
			questions = append(questions, q)
		}
	}
	return &benchFleet{slices.Collect(slices.Chunk(questions, benchTogether))}
}

func (f *benchFleet) second(b *testing.B, w *world) {
	for _, batch := range f.batches {
		for i := range batch {
			batch[i].Seq++
		}
		answers, err := w.ledger.Settle(b.Context(), batch)
		if err != nil {
			b.Fatal(err)
		}
		for i, a := range answers {
			for j, g := range a.Grants {
				e := &batch[i].Entries[j]
				if e.Term != g.Term {
					e.Term, e.Spent = g.Term, 0
				}
				e.Spent = min(e.Spent+3, g.Allowed)
			}
		}
	}
}
