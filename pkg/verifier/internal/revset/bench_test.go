package revset

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

const minute = int64(time.Minute / time.Microsecond)

// numberedID returns the n-th of ids that are as random as those of the issuer; no two are the same.
func numberedID(n int) events.ID {
	x := uint64(n) + 1
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	var id events.ID
	binary.BigEndian.PutUint64(id[:8], uint64(baseMillis+n%1000)<<16|0x7000|x>>62)
	binary.BigEndian.PutUint64(id[8:], x&^(3<<62)|2<<62)
	return id
}

// kindsOfEntries are those of which there may be millions.
var kindsOfEntries = []struct {
	name    string
	payload func(id string) events.Payload
	look    func(events.ID) Credential
}{
	{
		"tokens",
		func(id string) events.Payload { return events.TokenRevoked{JTI: id} },
		func(id events.ID) Credential { return Credential{JTI: id} },
	},
	{
		"users",
		func(id string) events.Payload {
			return events.TokenRevoked{UserID: id, TV: 1_800_000_000_000_000, Keys: true}
		},
		func(id events.ID) Credential { return Credential{Subject: id, TV: 1} },
	},
}

// apply puts entries in, in stretches of 2000, whose untils are spread over thirty minutes, as tokens' are, and returns the usual time of one. It
// is the median over short stretches, since whoever shares the machine makes some of them last.
func (s *Set) apply(from, to int, payload func(string) events.Payload) (ns float64) {
	const stretch = 2000
	var times []time.Duration
	for first := from; first < to; first += stretch {
		began := time.Now()
		for n := first; n < first+stretch; n++ {
			s.Apply(events.Event{Seq: uint64(n + 1), At: 1, Until: minute + int64(n)%30*minute, Payload: payload(numberedID(n).String())}, 0)
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return float64(times[len(times)/2].Nanoseconds()) / stretch
}

func heapInUse() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkSet tells what a set of a million and of ten million entries costs. Run it with -benchtime 1x -run ^$: each part
// takes its own measure.
func BenchmarkSet(b *testing.B) {
	for _, kind := range kindsOfEntries {
		for _, n := range []int{1_000_000, 10_000_000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, n), func(b *testing.B) {
				empty := heapInUse()
				set := New()
				b.ReportMetric(set.apply(0, n, kind.payload), "ns/insert")
				b.ReportMetric((heapInUse()-empty)/float64(n), "B/entry")
				reportLooks(b, "miss", func(i int) bool { return !set.Token(kind.look(numberedID(n + i))).Revoked })
				reportLooks(b, "hit", func(i int) bool { return set.Token(kind.look(numberedID(i * 7919 % n))).Revoked })
				reportLooks(b, "id", func(i int) bool { return kind.look(numberedID(n+i)) != Credential{} }) // is in both of them
				reportForgetting(b, set, n, empty)
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// reportLooks reports the least and the usual time over short stretches of look-ups, each of another id.
func reportLooks(b *testing.B, name string, right func(i int) bool) {
	const stretches, each = 1000, 1000
	times := make([]time.Duration, stretches)
	for stretch := range stretches {
		began := time.Now()
		for i := range each {
			if !right(stretch*each + i) {
				b.Fatal("wrong verdict")
			}
		}
		times[stretch] = time.Since(began)
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[0].Nanoseconds())/each, "ns/"+name+"-min")
	b.ReportMetric(float64(times[stretches/2].Nanoseconds())/each, "ns/"+name)
}

// reportForgetting lets half of the minutes pass, and then all.
func reportForgetting(b *testing.B, set *Set, n int, empty float64) {
	began := time.Now()
	set.Forget(15*minute, 15*minute)
	b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms/forget-half")
	b.ReportMetric((heapInUse()-empty)/float64(set.Len()), "B/entry-then")
	set.Forget(100*minute, 100*minute)
	b.ReportMetric((heapInUse()-empty)/1e6, "MB-at-end")
	runtime.KeepAlive(set)
}

// BenchmarkReaderBesideAWriter tells how long look-ups take while a set of a million entries grows to two million.
func BenchmarkReaderBesideAWriter(b *testing.B) {
	const n = 1_000_000
	kind := kindsOfEntries[0]
	for b.Loop() {
		set := New()
		set.apply(0, n, kind.payload)
		var grown atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			set.apply(n, 2*n, kind.payload)
			grown.Store(true)
		}()
		times := make([]time.Duration, 0, 50_000_000)
		for i := 0; !grown.Load() && len(times) < cap(times); i++ {
			id := numberedID(2*n + i)
			began := time.Now()
			set.Token(kind.look(id))
			times = append(times, time.Since(began))
		}
		<-done
		slices.Sort(times)
		for _, q := range []struct {
			name string
			of   float64
		}{{"p50-ns", 0.5}, {"p99-ns", 0.99}, {"p99.99-ns", 0.9999}, {"p99.9999-ns", 0.999999}, {"max-ns", 1}} {
			b.ReportMetric(float64(times[int(q.of*float64(len(times)-1))].Nanoseconds()), q.name)
		}
	}
}

// BenchmarkGrowth is the longest that one insertion into a set of ten million takes: the growth of a part.
func BenchmarkGrowth(b *testing.B) {
	const n = 10_000_000 / partCount
	full := newTable[level, uint64, *level](n)
	for i := range n {
		id := numberedID(i)
		full.add(hashOf(id), id, 1, 1)
	}
	least := time.Hour
	for b.Loop() {
		began := time.Now()
		full.replacement(n, 0)
		least = min(least, time.Since(began))
	}
	b.ReportMetric(float64(least.Microseconds()), "µs/least")
}

// BenchmarkClock is what the time of each look-up beside a writer includes.
func BenchmarkClock(b *testing.B) {
	began := time.Now()
	for b.Loop() {
		time.Since(began)
	}
}
