package verifier

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
)

// realClock makes a rig read the machine's clocks, as in use.
func realClock(b *testing.B, opts ...Option) *rig {
	r := newRig(b, opts...)
	r.Verifier.clock = clock.System()
	stop := make(chan struct{})
	done := make(chan struct{})
	proveNow := func() {
		proof := *r.link.proof.Load()
		proof.Since = clock.System().Now()
		proof.Now = proof.Since.Micros()
		r.link.proof.Store(&proof)
	}
	proveNow()
	r.link.keys.Store(keySet("k1", lastingKid))
	go func() {
		defer close(done)
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				proveNow()
			case <-stop:
				return
			}
		}
	}()
	b.Cleanup(func() { close(stop); <-done })
	return r
}

// lastingKid is as long as a thumbprint.
const lastingKid = "ExT3KqcVeHIL_d5_d6mGPoaGkwqHH8lMHmWu79koZhU"

// lastingToken is as long as authsvc's: versions are microseconds, and the key's id is a thumbprint.
func lastingToken(changes claims) Credential {
	version := time.Now().UnixMicro()
	all := claims{"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "rv": version, "tv": version}
	maps.Copy(all, changes)
	return Bearer(mintWith(claims{"kid": lastingKid}, all))
}

// run measures Verify and checks that it says the same each time.
func run(b *testing.B, r *rig, want Code, c Credential, opts ...RouteOption) {
	b.Helper()
	route, ctx := r.route(opts...), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Verify(ctx, c, route); CodeOf(err) != want {
			b.Fatal(err)
		}
	}
}

func BenchmarkWarm(b *testing.B) { run(b, realClock(b), "", lastingToken(nil)) }

// BenchmarkQuota is BenchmarkWarm on a route that spends a quota, which never ends.
func BenchmarkQuota(b *testing.B) {
	r := realClock(b)
	r.serveQuotas(1 << 40)
	run(b, r, "", lastingToken(nil), Quota("requests"))
}

func BenchmarkWithRoles(b *testing.B) {
	roles := []string{"user", "editor", "owner", "admin"}
	run(b, realClock(b), "", lastingToken(claims{"roles": roles}), Role("admin"), AnyRole("none", "editor"))
}

func BenchmarkRevoked(b *testing.B) {
	r := realClock(b)
	r.apply(events.TokenRevoked{JTI: aliceToken})
	run(b, r, CodeRevoked, lastingToken(nil))
}

func BenchmarkAPIKey(b *testing.B) {
	r := realClock(b)
	r.serve(newAuth())
	run(b, r, "", newKey(ModeLive), Role("editor"))
}

func BenchmarkUnknownAPIKey(b *testing.B) {
	r, a := realClock(b), newAuth()
	a.found = false
	r.serve(a)
	run(b, r, CodeUnknownKey, newKey(ModeLive))
}

// BenchmarkCold verifies tokens that were never seen. Each is measured beside its signature alone, in turns, because
// the ratio is what counts and machines are noisy.
func BenchmarkCold(b *testing.B) {
	r := realClock(b)
	tokens := make([]Credential, 4096)
	for i := range tokens {
		tokens[i] = lastingToken(claims{"jti": events.ID{1, 2, 3, 4, 5, 6, 0x70, byte(i >> 8), 0x80, byte(i)}.String()})
	}
	route, ctx, i := r.route(), context.Background(), 0
	var whole, alone time.Duration
	b.ReportAllocs()
	for b.Loop() {
		if i%len(tokens) == 0 {
			r.tokens.Sweep(never)
		}
		c := tokens[i%len(tokens)]
		start := time.Now()
		verifySignature(b, c.value)
		between := time.Now()
		if _, err := r.Verify(ctx, c, route); err != nil {
			b.Fatal(err)
		}
		alone, whole = alone+between.Sub(start), whole+time.Since(between)
		i++
	}
	b.ReportMetric(float64(whole.Nanoseconds())/float64(i), "ns/verify")
	b.ReportMetric(float64(whole)/float64(alone), "x-signature")
}

func verifySignature(b *testing.B, raw string) {
	dot := strings.LastIndexByte(raw, '.')
	signature, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
	if err != nil || !ed25519.Verify(tokenPublic, []byte(raw[:dot]), signature) {
		b.Fatal("bad signature")
	}
}

// BenchmarkWarmAmong100k picks at random among many tokens, so that the caches of the processor don't help.
func BenchmarkWarmAmong100k(b *testing.B) {
	const n = 100_000
	r := realClock(b, WithTokenCacheSize(n))
	base := lastingToken(nil)
	h, err := r.token(b.Context(), base.value, r.route())
	if err != nil {
		b.Fatal(err)
	}
	now := r.Verifier.clock.Now().Micros()
	plain, tokens := map[string]*holding{}, make([]Credential, 0, n)
	for i := range n {
		// Put as if verified: signing 100,000 tokens would take longer than the benchmark.
		raw := base.value[:len(base.value)-43] + strings.Repeat(fmt.Sprintf("%08d", i), 6)[:43]
		own := &heldToken{Value: holding{facts: h.facts, expires: h.expires, stripe: uint8(i)}}
		r.tokens.Put(raw, own, now, h.expires)
	}
	for raw, own := range r.tokens.All() { // a few were pushed out
		plain[strings.Clone(raw)] = own
	}
	// What is looked up lies elsewhere than what it is compared with, and in another order.
	for raw := range plain {
		c := Bearer(strings.Clone(raw))
		if _, err := r.Verify(b.Context(), c, r.route()); err != nil { // what the set says of it is learned on its first use
			b.Fatal(err)
		}
		tokens = append(tokens, c)
	}
	rand.Shuffle(len(tokens), func(i, j int) { tokens[i], tokens[j] = tokens[j], tokens[i] })
	route, ctx, i := r.route(), context.Background(), 0
	// Which token is next depends on the last result: requests come one at a time, and a processor that looks up several
	// at once would measure something else. No pointer is odd.
	next := func(last unsafe.Pointer) Credential {
		i += 1 + int(uintptr(last)&1)
		return tokens[i%len(tokens)]
	}
	const chunk = 1000 // in turns, because the ratio is what counts and machines are noisy
	var ours, maps []float64
	began := r.Verifier.clock.Now().Micros()
	for b.Loop() {
		var p *Principal
		var err error
		start := time.Now()
		for range chunk {
			if p, err = r.Verify(ctx, next(unsafe.Pointer(p)), route); err != nil {
				b.Fatal(err)
			}
		}
		between := time.Now()
		var own *holding
		for range chunk {
			if own = plain[next(unsafe.Pointer(own)).value]; own == nil || own.expires <= began {
				b.Fatal("missing, or expired")
			}
		}
		ours, maps = append(ours, between.Sub(start).Seconds()), append(maps, time.Since(between).Seconds())
	}
	slices.Sort(ours)
	slices.Sort(maps)
	verify, look := ours[len(ours)/2]/chunk, maps[len(maps)/2]/chunk
	b.ReportMetric(verify*1e9, "ns/verify")
	b.ReportMetric(look*1e9, "ns/look-up")
	b.ReportMetric(verify/look, "x-map")
}

func BenchmarkWarmParallel(b *testing.B) {
	r, c := realClock(b), lastingToken(nil)
	route := r.route()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := r.Verify(context.Background(), c, route); err != nil {
				b.Error(err)
			}
		}
	})
}

func TestWarmVerificationAllocatesNothing(t *testing.T) {
	r := newRig(t)
	r.Verifier.clock = clock.System()
	proof := *r.link.proof.Load()
	proof.Since = clock.System().Now()
	r.link.proof.Store(&proof)
	r.link.keys.Store(keySet("k1", lastingKid))
	r.serve(newAuth())
	ctx := context.Background()
	allocatesNothing := func(c Credential, route *Route) {
		n := testing.AllocsPerRun(1000, func() {
			if _, err := r.Verify(ctx, c, route); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", c, n)
		}
	}
	for _, c := range []Credential{lastingToken(nil), newKey(ModeLive)} {
		allocatesNothing(c, r.route(Role("user")))
	}
	r.serveQuotas(1 << 40)
	metered, token := r.route(Quota("requests")), lastingToken(nil)
	for range 1000 { // until so much is allowed that nothing is asked meanwhile
		if _, err := r.Verify(ctx, token, metered); err != nil {
			t.Fatal(err)
		}
	}
	allocatesNothing(token, metered)
}

// BenchmarkLook judges 10,000 long answers of as many credentials again, as after each change.
func BenchmarkLook(b *testing.B) {
	const n = 10_000
	setUp := func(b *testing.B) *rig {
		r := realClock(b, WithTokenCacheSize(n))
		base := lastingToken(nil)
		h, err := r.token(b.Context(), base.value, r.route())
		if err != nil {
			b.Fatal(err)
		}
		for i := range n {
			chain := []revset.Credential{h.chain[0]}
			chain[0].JTI[15], chain[0].JTI[14] = byte(i), byte(i>>8)
			l := &live{v: r.Verifier, route: r.route(), place: -1, cancel: func(error) {}}
			l.hold.Store(&holding{facts: facts{principal: h.principal, rv: h.rv, subject: h.subject, kid: h.kid, chain: chain}, expires: h.expires})
			r.lives.add(l)
		}
		return r
	}
	look := func(b *testing.B, r *rig, before func()) {
		round := r.lives.appendTo(nil)
		b.ReportAllocs()
		for b.Loop() {
			before()
			r.lookAt(round)
		}
		if r.lives.len() != n {
			b.Fatal("some ended")
		}
	}
	b.Run("after a proof", func(b *testing.B) {
		r := setUp(b)
		look(b, r, func() {})
	})
	b.Run("after an event", func(b *testing.B) {
		r, i := setUp(b), 0
		look(b, r, func() {
			i++
			r.apply(events.TokenRevoked{JTI: events.ID{1, 2, 3, 4, 5, 7, 0x70, byte(i >> 16), 0x80, byte(i >> 8), byte(i)}.String()})
		})
	})
	b.Run("all die", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			r := setUp(b)
			round := r.lives.appendTo(nil)
			r.apply(events.TokenRevoked{UserID: alice, TV: time.Now().Add(time.Hour).UnixMicro()})
			b.StartTimer()
			r.lookAt(round)
			b.StopTimer()
			if r.lives.len() != 0 {
				b.Fatal("some live on")
			}
			_ = r.Close()
			b.StartTimer()
		}
	})
}

// What a warm verification reads of a holding is a cache line, the first, and the token.
func TestAnOrdinaryTokenLiesInItsEntry(t *testing.T) {
	if n := len(lastingToken(nil).value); n > len(tokenRoom{}) {
		t.Errorf("a token of %d bytes, room for %d", n, len(tokenRoom{}))
	}
	const header, line, class = 8, 64, 1408 // the allocator's word for objects with pointers comes first
	if last := header + unsafe.Offsetof(heldToken{}.Value) + unsafe.Offsetof(holding{}.use); last >= line {
		t.Errorf("the last of what every use reads is at %d", last)
	}
	if n := header + unsafe.Sizeof(heldToken{}); n > class {
		t.Errorf("an entry of %d bytes", n)
	}
}

// BenchmarkAPIKeyUnderFlood judges a good key while a core does nothing but send invented ones: with bad checksums, or with good
// ones, which authsvc is asked about. In turns with no flood, because machines are noisy.
func BenchmarkAPIKeyUnderFlood(b *testing.B) {
	for _, good := range []bool{false, true} {
		name := map[bool]string{false: "bad checksums", true: "good checksums"}[good]
		b.Run(name, func(b *testing.B) { underFlood(b, good) })
	}
}

func underFlood(b *testing.B, good bool) {
	r, a := realClock(b), newAuth()
	r.serve(a)
	key, route, ctx := newKey(ModeLive), r.route(), context.Background()
	r.want("", key)
	a.found = false
	flood := make([]Credential, 1<<16)
	for i := range flood {
		flood[i] = APIKey(invented(good))
	}
	var on atomic.Bool
	var sent atomic.Int64
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			default:
			}
			if !on.Load() {
				time.Sleep(time.Millisecond) // out of the way of what is measured without it
				continue
			}
			_, _ = r.Verify(ctx, flood[i%len(flood)], route)
			sent.Add(1)
		}
	}()
	const chunk = 10 // a reading of the clock costs about as much as a decision
	took := map[bool][]float64{}
	var flooded time.Duration
	for b.Loop() {
		for _, with := range []bool{false, true} {
			on.Store(with)
			began := time.Now()
			for time.Since(began) < 20*time.Millisecond {
				start := time.Now()
				for range chunk {
					if _, err := r.Verify(ctx, key, route); err != nil {
						b.Fatal(err)
					}
				}
				took[with] = append(took[with], float64(time.Since(start).Nanoseconds())/chunk)
			}
			if with {
				flooded += time.Since(began)
			}
		}
	}
	close(end)
	<-ended
	for with, suffix := range map[bool]string{false: "quiet", true: "flood"} {
		slices.Sort(took[with])
		b.ReportMetric(took[with][len(took[with])/2], "p50-ns-"+suffix)
		b.ReportMetric(took[with][len(took[with])*99/100], "p99-ns-"+suffix)
	}
	b.ReportMetric(float64(sent.Load())/flooded.Seconds(), "flood/s")
}
