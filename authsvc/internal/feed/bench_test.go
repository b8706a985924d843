package feed_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/feed/feedtest"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// What a revoking call costs from its transaction to the PubAck, and a proof from question to answer, which waits for
// others to share its round.
func BenchmarkFeed(b *testing.B) {
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		b.Run(string(engine), func(b *testing.B) {
			s := newSite(b, storetest.URL(b, engine))
			r, l := s.replica(), s.listener("one")
			l.awaitProof(freshFor)
			b.Run("commit to published", func(b *testing.B) {
				percentiles(b, func() { r.receipt(feed.WaitPublished, within, r.revoke()) })
			})
			b.Run("proof", func(b *testing.B) {
				percentiles(b, func() { l.ask(freshFor) })
			})
		})
	}
}

// How many events a second one dispatcher can number, sign, publish and have stored, however many replicas commit them.
func BenchmarkPile(b *testing.B) {
	const pile = 20_000
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		b.Run(string(engine), func(b *testing.B) {
			s := newSite(b, storetest.URL(b, engine))
			r := s.replica()
			s.await("dispatcher", r.Holding)
			var busy time.Duration
			for b.Loop() {
				last := r.commit(pile)
				begun := time.Now()
				r.Nudge()
				s.await("stream", func() bool { return r.receipt(feed.WaitPublished, within, last).Published })
				busy += time.Since(begun)
			}
			b.ReportMetric(float64(pile*b.N)/busy.Seconds(), "events/s")
		})
	}
}

// What a proof costs of a large fleet, whose questions come together: the bus and the asking are in it.
func BenchmarkProofs(b *testing.B) {
	const instances = 1000
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		b.Run(string(engine), func(b *testing.B) {
			s := newSite(b, storetest.URL(b, engine))
			s.replica()
			s.listener("one").awaitProof(freshFor)
			nc := s.connect("cars")
			answers, err := nc.SubscribeSync("_INBOX_cars.fleet")
			if err != nil {
				b.Fatal(err)
			}
			var requests [][]byte
			for i := range instances {
				requests = append(requests, feedtest.NewVerifier("cars", fmt.Sprint(i), keySet).Ask(feedtest.NewClock(), bound).Body)
			}
			for b.Loop() {
				for _, body := range requests {
					if err := nc.PublishRequest(events.ProofSubject("cars"), "_INBOX_cars.fleet", body); err != nil {
						b.Fatal(err)
					}
				}
				for range requests {
					if _, err := answers.NextMsg(within); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*instances), "µs/proof")
		})
	}
}

// commit commits that many events of single tokens at once and tells nobody.
func (r *replica) commit(n int) (last string) {
	r.Helper()
	err := r.db.Update(r.Context(), func(tx *store.Tx) (err error) {
		for range n {
			jti := tx.NewID()
			if last, err = tx.InsertEvent(r.Context(), store.NewEvent{Payload: events.TokenRevoked{JTI: jti}, Target: "jti:" + jti, Actor: "system"}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
	return last
}

func percentiles(b *testing.B, do func()) {
	var all []time.Duration
	for b.Loop() {
		begun := time.Now()
		do()
		all = append(all, time.Since(begun))
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
}
