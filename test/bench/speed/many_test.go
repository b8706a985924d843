package speed

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// One of many tokens at random, so that the caches of the processor don't help.
const (
	manyOurs   = "Tocsin, one of many"
	manyMap    = "a plain Go map, one of many"
	manyClock  = "a plain Go map and the clock, one of many"
	manyAtOnce = "a plain Go map, one of many, look-ups overlap"
	oneMap     = "a plain Go map, the same token"
	clockAlone = "reading the clock"
)

// heldAlone is what a map of one's own would hold of a token.
type heldAlone struct{ expires int64 }

var errMissing = errors.New("missing, or expired")

// amongMany: what is looked up lies elsewhere than what it is compared with, and in another order. Which token is next depends on the
// last result: requests come one at a time, and a processor that looks up several at once would measure something else. The
// row of overlapping look-ups does without that.
func (w *world) amongMany(t *testing.T, c crowd) []contender {
	v := c.issuer.verifier(t, verifier.WithTokenCacheSize(len(c.tokens)))
	asked := held(t, v, c.tokens)
	plain := make(map[string]*heldAlone, len(asked))
	expires := time.Now().Add(time.Hour).UnixNano()
	for _, i := range rand.Perm(len(asked)) {
		plain[strings.Clone(asked[i])] = &heldAlone{expires}
	}
	credentials, ours := bearers(asked), route(t, v)
	began := time.Now().UnixNano()
	return []contender{
		{manyOurs, true, func(n int) error {
			at := turn{}
			for range n {
				p, err := v.Verify(context.Background(), credentials[at.of(len(credentials))], ours)
				if err != nil {
					return err
				}
				at.after(unsafe.Pointer(p))
			}
			return nil
		}},
		{manyMap, true, func(n int) error {
			at := turn{}
			for range n {
				h := plain[asked[at.of(len(asked))]]
				if h == nil || h.expires <= began {
					return errMissing
				}
				at.after(unsafe.Pointer(h))
			}
			return nil
		}},
		{manyClock, true, func(n int) error {
			at := turn{}
			for range n {
				h := plain[asked[at.of(len(asked))]]
				if h == nil || h.expires <= time.Now().UnixNano() {
					return errMissing
				}
				at.after(unsafe.Pointer(h))
			}
			return nil
		}},
		{manyAtOnce, true, func(n int) error {
			at := turn{}
			for range n {
				if h := plain[asked[at.of(len(asked))]]; h == nil || h.expires <= began {
					return errMissing
				}
				at.i++
			}
			return nil
		}},
		{oneMap, true, func(n int) error {
			for range n {
				if h := plain[asked[0]]; h == nil || h.expires <= began {
					return errMissing
				}
			}
			return nil
		}},
		{clockAlone, true, func(n int) error {
			for range n {
				if time.Now().UnixNano() < began {
					return errMissing
				}
			}
			return nil
		}},
	}
}

// turn goes through the tokens; each run begins anywhere.
type turn struct{ i int }

func (r *turn) of(n int) int { return r.i % n }

// after makes the next one depend on the last result. No pointer is odd.
func (r *turn) after(result unsafe.Pointer) { r.i += 1 + int(uintptr(result)&1) }

// held returns those of the many that the verifier has in its cache, elsewhere in memory: one in a thousand finds no place there.
func held(t *testing.T, v *verifier.Verifier, kept []string) []string {
	t.Helper()
	ordinary := route(t, v)
	for range 20 {
		var found []string
		for _, token := range kept {
			misses := v.Stats().CacheMisses
			if _, err := v.Verify(t.Context(), verifier.Bearer(token), ordinary); err != nil {
				t.Fatal(err)
			}
			if v.Stats().CacheMisses == misses {
				found = append(found, token)
			}
		}
		if len(found) == len(kept) {
			return cloned(found)
		}
		if len(found) > 0 {
			kept = found
		}
	}
	t.Fatal("the cache doesn't come to rest")
	return nil
}

func cloned(tokens []string) []string {
	all := make([]string, len(tokens))
	for i, at := range rand.Perm(len(tokens)) {
		all[i] = strings.Clone(tokens[at])
	}
	return all
}
