// Package bench measures what users feel, through the real programs: how fast a revocation arrives, what a revoking
// call and an elite call cost, how soon a fresh system answers and what it weighs. Durability is on everywhere.
//
//	go test -run '^$' -bench . ./bench
package bench

import (
	"context"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

func TestMain(m *testing.M) {
	code := pgtest.Run(m)
	system.RemoveBuild()
	os.Exit(code)
}

var engines = []struct {
	name string
	env  func(testing.TB) map[string]string
}{
	{"SQLite", func(testing.TB) map[string]string { return nil }},
	{"PostgreSQL", func(t testing.TB) map[string]string {
		return map[string]string{"TOCSIN_DATABASE_URL": pgtest.URL(t)}
	}},
}

// samples collects durations; report prints their percentiles in milliseconds.
type samples []time.Duration

func (s samples) report(b *testing.B, name string) {
	slices.Sort(s)
	at := func(p float64) float64 {
		return float64(s[min(len(s)-1, int(p*float64(len(s))))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.50), name+"p50-ms")
	b.ReportMetric(at(0.99), name+"p99-ms")
	b.ReportMetric(at(1), name+"max-ms")
}

// poller sends ordinary calls one after the other and remembers when the last accepted one was answered.
type poller struct {
	accepted atomic.Int64 // wall clock, nanoseconds
	refused  chan struct{}
}

func poll(ctx context.Context, r *system.Resource, authorization string) *poller {
	p := &poller{refused: make(chan struct{})}
	go func() {
		defer close(p.refused)
		for ctx.Err() == nil {
			got, err := r.Try(ctx, "GET", "/v1/whoami", authorization, nil)
			if err != nil || got.Status != 200 {
				return
			}
			p.accepted.Store(time.Now().UnixNano())
		}
	}()
	return p
}

// The clock starts twice: when the revoking call is sent (it includes the commit itself, so it is too long) and when
// its answer, sent after the commit and waiting for nothing, is there (so it is too short by that answer's way).
func BenchmarkRevocationReachesTheVerifier(b *testing.B) {
	for _, engine := range engines {
		b.Run(engine.name, func(b *testing.B) {
			a := system.StartAuth(b, engine.env(b))
			r := system.StartResource(b, a, nil)
			admin, u := a.Admin(b), a.Register(b, "bench")
			var fromCall, fromAnswer samples
			for b.Loop() {
				a.Login(b, &u)
				r.Must(b, 200, "GET", "/v1/whoami", u.Auth(), nil)
				p := poll(b.Context(), r, u.Auth())
				time.Sleep(5 * time.Millisecond) // let the poller reach its pace
				sent := time.Now()
				a.Must(b, 200, "POST", "/v1/admin/revocations?wait=none", admin.Auth(), map[string]any{"session_id": u.Session})
				answered := time.Now()
				<-p.refused
				last := time.Unix(0, p.accepted.Load())
				fromCall = append(fromCall, max(0, last.Sub(sent)))
				fromAnswer = append(fromAnswer, max(0, last.Sub(answered)))
			}
			fromCall.report(b, "from-call-")
			fromAnswer.report(b, "from-answer-")
		})
	}
}

func BenchmarkRevokingCallUntilPublished(b *testing.B) {
	for _, engine := range engines {
		b.Run(engine.name, func(b *testing.B) {
			a := system.StartAuth(b, engine.env(b))
			system.StartResource(b, a, nil)
			admin, u := a.Admin(b), a.Register(b, "bench")
			var took samples
			for b.Loop() {
				a.Login(b, &u)
				start := time.Now()
				got := a.Must(b, 200, "POST", "/v1/admin/revocations", admin.Auth(), map[string]any{"session_id": u.Session})
				took = append(took, time.Since(start))
				if !got.Receipt(b).Published {
					b.Fatalf("not published: %v", got)
				}
			}
			took.report(b, "")
		})
	}
}

func BenchmarkEliteCall(b *testing.B)    { call(b, "/v1/whoami/elite") }
func BenchmarkOrdinaryCall(b *testing.B) { call(b, "/v1/whoami") }

func call(b *testing.B, path string) {
	for _, engine := range engines {
		b.Run(engine.name, func(b *testing.B) {
			a := system.StartAuth(b, engine.env(b))
			r := system.StartResource(b, a, nil)
			u := a.Register(b, "bench")
			var took samples
			for b.Loop() {
				start := time.Now()
				r.Must(b, 200, "GET", path, u.Auth(), nil)
				took = append(took, time.Since(start))
			}
			took.report(b, "")
		})
	}
}

// BenchmarkStart is what `make run` does after the build: both programs, then the first login.
func BenchmarkStart(b *testing.B) {
	if _, err := system.Build(b.Context()); err != nil {
		b.Fatal(err)
	}
	var took samples
	var auth, resource int64
	for b.Loop() {
		start := time.Now()
		a := system.StartAuth(b, nil)
		r := system.StartResource(b, a, nil)
		a.Admin(b)
		took = append(took, time.Since(start))
		auth, resource = rss(b, a.Process), rss(b, r.Process)
		r.Stop(b)
		a.Stop(b)
	}
	took.report(b, "to-first-login-")
	b.ReportMetric(float64(auth)/(1<<20), "authsvc-MiB")
	b.ReportMetric(float64(resource)/(1<<20), "resourcesvc-MiB")
}

func rss(b *testing.B, p *system.Process) int64 {
	n, err := p.RSS()
	if err != nil {
		b.Fatal(err)
	}
	return n
}
