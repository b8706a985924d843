package cache

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func entry(v int) *Entry[int, [16]byte] { return &Entry[int, [16]byte]{Value: v} }

func TestFindsExactlyWhatWasPut(t *testing.T) {
	const n = 10_000
	c := New[int, [16]byte](n)
	for i := range n {
		c.Put(fmt.Sprint("key", i), entry(i), 0, 10)
	}
	lost := 0
	for i := range n {
		switch v := c.Get(fmt.Sprint("key", i)); {
		case v == nil:
			lost++ // where a bucket was full; which one is chance, because the seed is
		case *v != i:
			t.Errorf("key%d: %d", i, *v)
		}
	}
	if lost > n/200 || c.Len() != n-lost {
		t.Errorf("%d of %d were pushed out, %d are left", lost, n, c.Len())
	}
	if c.Get("key") != nil || c.Get("") != nil || c.Get("key10000") != nil {
		t.Error("found a key that was never put")
	}
}

func TestNeverLargerThanItsSlots(t *testing.T) {
	c := New[int, [16]byte](64)
	for i := range 10_000 {
		c.Put(fmt.Sprint(i), entry(i), 0, 10)
	}
	if c.Len() > c.Slots() {
		t.Errorf("%d entries in %d slots", c.Len(), c.Slots())
	}
}

func TestUsedEntriesOutliveAFlood(t *testing.T) {
	c := New[int, [16]byte](8)
	c.Put("used", entry(1), 0, 10)
	for i := range 1000 {
		if c.Get("used") == nil {
			t.Fatalf("gone after %d others", i)
		}
		c.Put(fmt.Sprint(i), entry(i), 0, 10)
	}
}

func TestDeadEntriesGoFirst(t *testing.T) {
	c := New[int, [16]byte](2) // one bucket
	c.Put("dead", entry(1), 0, 5)
	for i := range ways - 1 {
		c.Put(fmt.Sprint(i), entry(1), 0, 100)
	}
	c.Put("new", entry(1), 6, 100)
	if c.Get("dead") != nil || c.Get("new") == nil || c.Len() != ways {
		t.Error("a live entry had to go")
	}
}

func TestSweepRemovesTheDeadOnly(t *testing.T) {
	c := New[int, [16]byte](100)
	c.Put("a", entry(1), 0, 5)
	c.Put("b", entry(1), 0, 6)
	c.Sweep(6)
	if c.Get("a") != nil || c.Get("b") == nil || c.Len() != 1 {
		t.Error("wrong entries swept")
	}
}

func TestDeleteLeavesALaterValue(t *testing.T) {
	c := New[int, [16]byte](10)
	old, late := entry(1), entry(2)
	c.Put("a", old, 0, 5)
	c.Put("a", late, 0, 5)
	c.Delete("a", &old.Value)
	if c.Get("a") != &late.Value || c.Len() != 1 {
		t.Error("deleted a value that another had replaced")
	}
	c.Delete("a", &late.Value)
	if c.Get("a") != nil || c.Len() != 0 {
		t.Error("not deleted")
	}
}

func TestBehavesLikeAMapThatForgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, model := New[int, [16]byte](16), map[string]*int{}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			key := rapid.StringN(0, 2, 4).Draw(t, "key")
			switch rapid.IntRange(0, 2).Draw(t, "op") {
			case 0:
				e := entry(1)
				c.Put(key, e, 0, 1)
				model[key] = &e.Value
			case 1:
				if v := c.Get(key); v != nil && v != model[key] {
					t.Fatalf("%q: a value that is not the last", key)
				}
			case 2:
				if v := model[key]; v != nil {
					c.Delete(key, v)
					delete(model, key)
				}
			}
		}
		seen := 0
		for key, v := range c.All() {
			if model[key] != v {
				t.Fatalf("%q: a value that is not the last", key)
			}
			seen++
		}
		if seen != c.Len() {
			t.Fatalf("Len %d, but %d entries", c.Len(), seen)
		}
	})
}

func TestParallelUse(t *testing.T) {
	c := New[string, [2]byte](32)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20_000 {
				key := fmt.Sprint(rand.IntN(200))
				switch v := c.Get(key); {
				case v == nil:
					c.Put(key, &Entry[string, [2]byte]{Value: key}, 0, 1)
				case *v != key:
					t.Errorf("%q gave %q", key, *v)
				case rand.IntN(10) == 0:
					c.Delete(key, v)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	for range c.All() {
		n++
	}
	if n != c.Len() {
		t.Errorf("Len %d, but %d entries", c.Len(), n)
	}
}

func BenchmarkGet(b *testing.B) {
	c := New[int, [16]byte](1 << 16)
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = fmt.Sprintf("%0450d", i)
		c.Put(keys[i], entry(i), 0, 1)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if c.Get(keys[i&7]) == nil {
			b.Fatal("missing")
		}
		i++
	}
}
