package elite

import (
	"encoding/json"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
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

// BenchmarkQuotas is a second of three instances with a thousand active users: 48 questions at once over loopback NATS. Its
// processor time is that of this process, askers and NATS included, and without that of PostgreSQL.
func BenchmarkQuotas(b *testing.B) {
	const instances, users = 3, 1000
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		b.Run(string(engine), func(b *testing.B) {
			s := newSceneOn(b, engine, nil)
			s.limit(b, 1<<35)
			var questions []events.QuotaRequest
			var subjects []string
			for range users {
				subjects = append(subjects, storetest.AddUser(b, s.db, events.NewNonce()).ID)
			}
			for range instances {
				start := events.NewNonce()
				for i, subject := range subjects {
					if i%events.MaxQuotaEntries == 0 {
						questions = append(questions, events.QuotaRequest{StartNonce: start})
					}
					q := &questions[len(questions)-1]
					q.Entries = append(q.Entries, events.QuotaEntry{Subject: subject, Resource: quotaResource, Want: 5})
				}
			}
			before := processorTime(b)
			for b.Loop() {
				var asking sync.WaitGroup
				for i := range questions {
					asking.Go(func() { s.tell(b, &questions[i]) })
				}
				asking.Wait()
			}
			b.ReportMetric(float64(b.N*instances*users)/b.Elapsed().Seconds(), "reports/s")
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N*instances*users), "cpu-µs/report")
		})
	}
}

// tell asks, and spends some of what was allowed.
func (s *scene) tell(b *testing.B, q *events.QuotaRequest) {
	q.Seq++
	a, err := s.spend(b, s.cars, "cars", *q)
	if err != nil {
		b.Error(err)
		return
	}
	for i, g := range a.Grants {
		e := &q.Entries[i]
		e.Term, e.Spent = g.Term, min(e.Spent+3, g.Allowed)
	}
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
