package verifiertest_test

import (
	"runtime"
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiertest"
)

// BenchmarkMemory tells what the verifier holds for each credential in use and for each long answer: one round, -benchtime 1x.
func BenchmarkMemory(b *testing.B) {
	const n = 5_000
	room := []verifier.Option{verifier.WithTokenCacheSize(4 * n), verifier.WithKeyCacheSize(4 * n)}
	verify := func(i *verifiertest.Issuer, c verifiertest.Caller) any {
		if _, err := i.Verifier.Verify(b.Context(), c.Credential(), nil); err != nil {
			b.Fatal(err)
		}
		return nil
	}
	for name, use := range map[string]struct {
		caller func(*verifiertest.Issuer) verifiertest.Caller
		hold   func(*verifiertest.Issuer, verifiertest.Caller) any
	}{
		"token": {func(i *verifiertest.Issuer) verifiertest.Caller { return i.Token(verifier.Principal{}) }, verify},
		"key":   {func(i *verifiertest.Issuer) verifiertest.Caller { return i.Key(verifier.Principal{}) }, verify},
		"stream": {func(i *verifiertest.Issuer) verifiertest.Caller { return i.Token(verifier.Principal{}) },
			func(i *verifiertest.Issuer, c verifiertest.Caller) any {
				verify(i, c)
				ctx, end, err := i.Verifier.Live(b.Context(), c.Credential(), nil)
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(end)
				return ctx
			}},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				i := verifiertest.New(b, room...)
				callers, held := make([]verifiertest.Caller, n), make([]any, n)
				for k := range callers {
					callers[k] = use.caller(i)
				}
				before := heap()
				for k, c := range callers {
					held[k] = use.hold(i, c)
				}
				b.ReportMetric(float64(heap()-before)/n, "B/"+name)
				runtime.KeepAlive(callers)
				runtime.KeepAlive(held)
				runtime.KeepAlive(i)
			}
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
