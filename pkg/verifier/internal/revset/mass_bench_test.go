package revset

import (
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// BenchmarkMassRevocation applies 100,000 users in messages of six events of a thousand, to an empty set.
func BenchmarkMassRevocation(b *testing.B) {
	const users, each, message = 100_000, 1000, 6
	var all []events.Event
	for n := 0; n < users; n += each {
		ids := make([]string, each)
		for i := range ids {
			ids[i] = numberedID(n + i).String()
		}
		all = append(all, events.Event{Seq: uint64(n/each + 1), At: 10, Until: minute, Payload: events.TokenRevoked{UserIDs: ids, TV: 5, Keys: true}})
	}
	b.ReportAllocs()
	for b.Loop() {
		s := New()
		for first := 0; first < len(all); first += message {
			s.ApplyAll(all[first:min(first+message, len(all))], func() int64 { return 0 })
		}
	}
}
