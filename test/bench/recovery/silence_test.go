package recovery

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/fleet"
	"github.com/tocsin-auth/tocsin/test/faults"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

// Directions that fall silent in turn: both, to the node only, from it only.
var directions = [][2]bool{{true, true}, {true, false}, {false, true}}

// hole is how long a node is silent: longer than it takes to notice that.
const hole = 3500 * time.Millisecond

// silence makes one node after the other silent for all verifiers, then for all authsvc. Whoever is connected to it has to
// notice, and to go on through another node.
func (b *bench) silence() {
	noticed, proven := b.finding("a verifier's node silent, noticed", "3000"), b.finding("a verifier's node silent, proven again through another", "")
	oldest := b.finding("a verifier's node silent, oldest proof of whom it concerned", "")
	for i := range *holes {
		began := b.silent(b.ways, i)
		for _, m := range b.fleet.Report(b) {
			lost, ok := fleet.First(m.Lost, began)
			if !ok {
				continue // connected to another node
			}
			noticed.since(began, lost)
			if at, ok := m.ProvenAt(lost); ok {
				proven.since(began, at)
			}
			oldest.Add(oldestProof(m))
		}
		noticed.times, proven.times, oldest.times = i+1, i+1, i+1
		b.rest()
	}
	b.silenceOfAuth()
}

func (b *bench) silenceOfAuth() {
	noticed, again := b.finding("a node of authsvc silent, noticed", "3000"), b.finding("a node of authsvc silent, connected to another", "")
	oldest := b.finding("a node of authsvc silent, oldest proof of a verifier", "")
	for i := range *holes {
		began := b.silent(b.AuthBus, i)
		for _, a := range b.Auth {
			lost, found := logged(a, "NATS connection lost"), logged(a, "NATS connected")
			noticed.since(began, after(lost, began)...)
			again.since(began, after(found, began)...)
		}
		for _, m := range b.fleet.Report(b) {
			oldest.Add(oldestProof(m))
		}
		noticed.times, again.times, oldest.times = i+1, i+1, i+1
		b.rest()
	}
}

// silent makes a node silent for a while and returns when that began. Those who are connected to it are at different points
// of their pings.
func (b *bench) silent(ways [][]*faults.Proxy, i int) time.Time {
	node, d := i%natstest.Nodes, directions[i%len(directions)]
	began := time.Now()
	for _, way := range ways {
		way[node].Hold(d[0], d[1])
	}
	time.Sleep(hole)
	for _, way := range ways {
		way[node].Hold(false, false)
	}
	return began
}

// rest lets everybody be well again, for a time that is never the same part of a ping.
func (b *bench) rest() {
	b.provenSince(time.Now())
	time.Sleep(rand.N(time.Second))
	b.fleet.Forget(b)
}

// oldestProof returns the greatest age that a member's last proof had.
func oldestProof(m fleet.Member) (oldest time.Duration) {
	for i, p := range m.Proofs[min(1, len(m.Proofs)):] {
		oldest = max(oldest, p.At.Sub(m.Proofs[i].Asked))
	}
	return oldest
}

func after(times []time.Time, moment time.Time) []time.Time {
	return slices.DeleteFunc(times, func(t time.Time) bool { return t.Before(moment) })
}
