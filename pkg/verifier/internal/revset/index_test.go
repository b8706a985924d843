package revset

import (
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"pgregory.net/rapid"
)

// neighbours are ids of one part, so that its table grows, and their searches meet, as in a set of a million.
var neighbours = sync.OnceValue(func() []events.ID {
	ids := make([]events.ID, 0, 2000)
	for n := 0; len(ids) < cap(ids); n++ {
		if id := numberedID(n); hashOf(id).part() == 0 {
			ids = append(ids, id)
		}
	}
	return ids
})

// checkIndex does the same to an index and to a map.
func checkIndex(t *rapid.T) {
	ids := neighbours()
	var x levels
	want := map[events.ID]kept[uint64]{}
	horizon := bucket(0)
	t.Repeat(map[string]func(*rapid.T){
		"raise": func(t *rapid.T) {
			first, n := rapid.IntRange(0, len(ids)-1).Draw(t, "first"), rapid.IntRange(1, 500).Draw(t, "n")
			until, level := horizon+rapid.Map(rapid.IntRange(1, 5), bucketOfInt).Draw(t, "until"), rapid.Uint64().Draw(t, "level")
			for _, id := range ids[first:min(first+n, len(ids))] {
				old, known := want[id]
				want[id] = kept[uint64]{max(old.Until, until), max(old.What, level)}
				if got := x.raise(id, until, level); got != (!known || level > old.What) {
					t.Fatalf("raise to %d of %+v reported %v", level, old, got)
				}
			}
		},
		"forget": func(t *rapid.T) {
			horizon += rapid.Map(rapid.IntRange(0, 2), bucketOfInt).Draw(t, "buckets")
			x.forget(0, horizon)
			maps.DeleteFunc(want, func(_ events.ID, k kept[uint64]) bool { return k.Until <= horizon })
		},
		"": func(t *rapid.T) {
			if got := entriesOf(&x); !maps.Equal(got, want) || x.len() != len(want) {
				t.Fatalf("%d entries, %d are counted, want %d", len(got), x.len(), len(want))
			}
			for _, id := range ids {
				k, known := want[id]
				if got, found := x.find(id); found != known || got != k.What {
					t.Fatalf("found %d %v, want %d %v", got, found, k.What, known)
				}
			}
		},
	})
}

func bucketOfInt(n int) bucket { return bucket(n) }

func TestIndexIsAMapThatForgets(t *testing.T) { rapid.Check(t, checkIndex) }

func FuzzIndexIsAMapThatForgets(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkIndex)) }

// Readers that come while a table grows, and while it is replaced by one without what has passed, miss nothing that was
// there before and stays, find nothing that never was, and see levels rise only. The race detector watches.
func TestReadersBesideAWriterMissNothing(t *testing.T) {
	const staying, passing = 2, 1
	ids := neighbours()
	there, never, passed := ids[:len(ids)/2], ids[len(ids)/2:len(ids)-1], ids[len(ids)-1]
	var x levels
	var published atomic.Int64 // ids from the front of there
	var done atomic.Bool
	var wg sync.WaitGroup
	for reader := range 2 {
		wg.Go(func() {
			last := make([]uint64, len(there))
			for i := reader; !done.Load(); i++ {
				n := int(published.Load())
				if _, found := x.find(never[i%len(never)]); found {
					t.Error("found what never was")
					return
				}
				x.find(there[min(n, len(there)-1)]) // it may be half written: the race detector sees whether its id is read
				if n == 0 {
					continue
				}
				level, found := x.find(there[i%n])
				if !found || level < last[i%n] {
					t.Errorf("found %v, level %d after %d", found, level, last[i%n])
					return
				}
				last[i%n] = level
			}
		})
	}
	for i, id := range there {
		x.raise(id, staying, 1)
		published.Store(int64(i + 1))
		x.raise(there[i/2], staying, uint64(i))
		if i%50 == 0 { // what has passed makes the table be replaced
			x.raise(passed, passing, 1)
			x.forget(0, passing)
		}
	}
	done.Store(true)
	wg.Wait()
	if n := x.len(); n != len(there) {
		t.Fatalf("%d entries, want %d", n, len(there))
	}
}

func TestZeroBytesAreTheZeroBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x, want uint64
		for i := range 8 {
			b := rapid.SampledFrom([]uint64{0, 0, 1, 2, 0x7f, 0x80, 0x81, 0xff}).Draw(t, "byte")
			x |= b << (8 * i)
			if b == 0 {
				want |= 0x80 << (8 * i)
			}
		}
		if got := zeroBytes(x); got != want {
			t.Fatalf("zeroBytes(%#x) = %#x, want %#x", x, got, want)
		}
	})
}

func TestBucketsPassLateByLessThanTheirWidthAndNeverEarly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		until := rapid.OneOf(rapid.Int64Range(1, 5*bucketWidth), rapid.Int64Range(1, Never)).Draw(t, "until")
		horizon := max(0, until+min(rapid.Int64Range(-2*bucketWidth, 2*bucketWidth).Draw(t, "distance"), Never-until))
		gone := bucketOf(until) <= passed(horizon)
		if gone && until > horizon {
			t.Fatal("forgotten early")
		}
		if !gone && until+bucketWidth <= horizon && bucketOf(until) < lastBucket {
			t.Fatal("kept for longer than a bucket")
		}
	})
}

// At every size of growth: from one million on, through the growth of all parts, tokens as well as users whose tokens and
// keys are cut off. What they occupy comes back.
func TestAnEntryTakesAtMostFortyBytes(t *testing.T) {
	const from, to, step = 1_000_000, 1_200_000, 20_000
	for _, kind := range kindsOfEntries {
		t.Run(kind.name, func(t *testing.T) {
			empty := heapInUse()
			set := New()
			set.apply(0, from, kind.payload)
			worst := 0.0
			for n := from; n < to; n += step {
				worst = max(worst, (heapInUse()-empty)/float64(n))
				set.apply(n, n+step, kind.payload)
			}
			t.Logf("%.1f bytes at most", worst)
			if worst > 40 {
				t.Errorf("an entry takes %.1f bytes", worst)
			}
			set.Forget(100*minute, 100*minute)
			if rest := heapInUse() - empty; rest > 1e6 {
				t.Errorf("%.0f bytes are held after everything has passed", rest)
			}
			runtime.KeepAlive(set)
		})
	}
}
