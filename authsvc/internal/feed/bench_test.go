package feed_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
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
