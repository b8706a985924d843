package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// trimEvery is how often memory is looked at, and spareMemory how much of it may lie unused: a few password hashes,
	// which take 19 MiB each.
	trimEvery   = 10 * time.Second
	spareMemory = 48 << 20
)

// trimMemory gives memory back that a burst of password hashes has left behind. By itself the runtime keeps it for
// minutes when little else happens. The returned function ends that.
func trimMemory(busy func() bool) (stop func(context.Context) error) {
	return every(trimEvery, func(context.Context) {
		if !busy() && unusedMemory() > spareMemory {
			debug.FreeOSMemory()
		}
	})
}

// unusedMemory is what the process holds beyond what was alive at the last garbage collection.
func unusedMemory() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	held, used := samples[0].Value.Uint64()-samples[1].Value.Uint64(), samples[2].Value.Uint64()
	return held - min(held, used)
}
