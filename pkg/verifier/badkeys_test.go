package verifier

import (
	"context"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
)

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// sealed returns a body of a key with its right checksum.
func sealed(body string) string {
	crc, n := []byte("000000"), crc32.ChecksumIEEE([]byte(body))
	for i := len(crc) - 1; i >= 0; i, n = i-1, n/62 {
		crc[i] = digits[n%62]
	}
	return body + string(crc)
}

// invented draws a key that nobody issued.
func invented(good bool) string {
	var body [43]byte
	for i := range body {
		body[i] = digits[rand.N(len(digits))]
	}
	key := sealed("tcs_live_" + string(body[:]))
	if !good {
		last := strings.IndexByte(digits, key[len(key)-1])
		key = key[:len(key)-1] + string(digits[(last+1+rand.N(len(digits)-1))%len(digits)])
	}
	return key
}

// Each is judged where it wasn't seen before, and where the good key is in the cache.
func TestDamagedKeysAreRefused(t *testing.T) {
	good := apikey.New(ModeLive)
	body := good[:len(good)-6]
	if sealed(body) != good {
		t.Fatal("the test's checksum is another")
	}
	for name, tc := range map[string]struct {
		key  string
		want Code
	}{
		"truncated":                              {good[:len(good)-1], CodeMalformed},
		"truncated, with its checksum":           {sealed(body[:len(body)-1]), CodeMalformed},
		"longer, with its checksum":              {sealed(body + "0"), CodeMalformed},
		"upper case":                             {strings.ToUpper(good), CodeMalformed},
		"changed case":                           {good[:9] + swapCase(good[9:]), CodeMalformed},
		"changed case, with its checksum":        {sealed(body[:9] + swapCase(body[9:])), CodeUnknownKey},
		"swapped prefix":                         {"tcs_test_" + good[9:], CodeMalformed},
		"swapped prefix, with its checksum":      {sealed("tcs_test_" + body[9:]), CodeUnknownKey},
		"a prefix of no mode, with its checksum": {sealed("tcs_prod_" + body[9:]), CodeMalformed},
		"a part of the prefix":                   {"tcs_live_", CodeMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			for _, known := range []bool{false, true} {
				r, a := newRig(t), newAuth()
				r.serve(a)
				if known {
					r.want("", APIKey(good))
				}
				a.found, a.active, a.reason = false, false, events.ReasonUnknownKey
				r.want(tc.want, APIKey(tc.key))
				r.want(tc.want, APIKey(tc.key), Elite())
			}
		})
	}
}

func TestAKeyEndsToTheSecond(t *testing.T) {
	for _, opts := range [][]RouteOption{nil, {Elite()}} {
		for after, want := range map[time.Duration]Code{-time.Second: CodeExpired, 0: CodeExpired, time.Second: ""} {
			r, a := newRig(t), newAuth()
			end := began.Add(after).UnixMicro()
			a.key.NotAfter = &end
			r.serve(a)
			key := newKey(ModeLive)
			r.want(want, key, opts...)
			if want != "" {
				continue
			}
			r.clock.Advance(2 * time.Second) // from the cache, too
			r.prove()
			r.want(CodeExpired, key, opts...)
		}
	}
}

func TestAServiceAcceptsOneMode(t *testing.T) {
	for _, test := range []bool{false, true} {
		var opts []Option
		own, other := ModeLive, ModeTest
		if test {
			opts, own, other = append(opts, WithAllowTest()), ModeTest, ModeLive
		}
		r, a := newRig(t, opts...), newAuth()
		r.serve(a)
		for _, route := range [][]RouteOption{nil, {Elite()}} {
			for mode, want := range map[Mode]Code{own: "", other: CodeWrongMode} {
				a.key.Mode = mode
				r.want(want, newKey(mode), route...)
			}
		}
		if s := r.Stats(); s.Mode != own {
			t.Errorf("says that its mode is %q", s.Mode)
		}
	}
}

// heap is what is live.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAMillionKeysWithBadChecksumsAreNeverAskedAboutNorRemembered(t *testing.T) {
	r, key := newRig(t), newKey(ModeLive)
	r.serve(newAuth())
	r.want("", key)
	route, before := r.route(), heap()
	bad := []byte(invented(false))
	for i := range 1_000_000 {
		for j, n := 20, i; j < 26; j, n = j+1, n/62 {
			bad[j] = digits[n%62]
		}
		if _, err := r.Verify(t.Context(), APIKey(string(bad)), route); CodeOf(err) != CodeMalformed {
			t.Fatalf("%s: %v", bad, err) // one in 57 billion may have the right checksum
		}
	}
	if grown := int64(heap() - before); grown > 1<<20 {
		t.Errorf("%d bytes more", grown)
	}
	if n := r.link.requests(events.KindResolve); n != 1 || r.keys.Len() != 1 || r.unknown.Len() != 0 {
		t.Errorf("%d questions, %d keys and %d unknown ones are held", n, r.keys.Len(), r.unknown.Len())
	}
	r.unserve()
	r.want("", key)
}

// Keys with good checksums cost a question each, a few at a time, and displace none that is good, nor more memory than the
// cache of unknown keys has.
func TestAFloodOfInventedKeysIsBounded(t *testing.T) {
	const flood = 60_000
	r, a, key := newRig(t, WithKeyCacheSize(64)), newAuth(), newKey(ModeLive)
	r.serve(a)
	r.want("", key)
	a.found = false
	var running, most atomic.Int64
	r.link.mu.Lock()
	answer := r.link.answer
	r.link.answer = func(ctx context.Context, kind events.Kind, body []byte) ([]byte, error) {
		for now := running.Add(1); ; {
			if old := most.Load(); now <= old || most.CompareAndSwap(old, now) {
				break
			}
		}
		runtime.Gosched()
		defer running.Add(-1)
		return answer(ctx, kind, body)
	}
	r.link.mu.Unlock()
	before, route := heap(), r.route()
	var askers sync.WaitGroup
	for range 4 * resolveLimit {
		askers.Go(func() {
			for range flood / (4 * resolveLimit) {
				if _, err := r.Verify(context.Background(), APIKey(invented(true)), route); CodeOf(err) != CodeUnknownKey && CodeOf(err) != CodeAuthUnavailable {
					t.Error(err)
					return
				}
			}
		})
	}
	askers.Wait()
	if n := most.Load(); n > resolveLimit {
		t.Errorf("%d questions at once", n)
	}
	if n := r.unknown.Len(); n > r.unknown.Slots() || n < unknownKeys/2 {
		t.Errorf("%d unknown keys are remembered, of %d places", n, r.unknown.Slots())
	}
	r.link.mu.Lock()
	r.link.asked = nil // the test's own record
	r.link.mu.Unlock()
	if grown := int64(heap() - before); grown > 8<<20 {
		t.Errorf("%d bytes more", grown)
	}
	r.clock.Advance(unknownLife + time.Second)
	r.tendKeys(t.Context())
	if n := r.unknown.Len(); n != 0 {
		t.Errorf("%d are remembered after their time", n)
	}
	r.prove()
	r.unserve()
	r.want("", key)
}
