package recovery

import (
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/stage"
	"github.com/tocsin-auth/tocsin/test/system"
)

const isDispatcher = "this process is the dispatcher"

// succession kills the dispatcher's process and has a token revoked by the other replica at once.
func (b *bench) succession() {
	taken := b.finding("dispatcher killed, the other has the lease", "2000")
	proven := b.finding("dispatcher killed, proven again", "2000")
	effective := b.finding("dispatcher killed, a revocation made at once is effective everywhere", "2000")
	for range *kills {
		holder, other := b.holder()
		stage.Refresh(b, other, &b.user)
		b.fleet.Watch(b, b.user.Token)
		killed := time.Now()
		holder.Kill()
		other.Must(b, 200, "POST", "/v1/admin/revocations?wait=none", b.admin.Auth(), map[string]any{"token": b.user.Token})
		refused, _ := b.fleet.Refusals(b)
		effective.Add(latest(refused).Sub(killed))
		proven.since(killed, b.provenSince(killed)...)
		taken.since(killed, latest(logged(other, isDispatcher)))
		taken.times, proven.times, effective.times = taken.times+1, proven.times+1, effective.times+1
		holder.Restart(b)
		b.fleet.Forget(b)
	}
}

// holder tells the dispatcher's process from the other: it was the last to say so.
func (b *bench) holder() (holder, other *system.Auth) {
	first, second := latest(logged(b.Auth[0], isDispatcher)), latest(logged(b.Auth[1], isDispatcher))
	if first.After(second) {
		return b.Auth[0], b.Auth[1]
	}
	return b.Auth[1], b.Auth[0]
}

// restarts kills the only authsvc, whose successor on this host needn't wait for the lease.
func (b *bench) restarts() {
	ready := b.finding("authsvc killed and started again, ready", "")
	proven := b.finding("authsvc killed and started again, proven again", "2000")
	for range *kills {
		killed := time.Now()
		b.Auth[0].Kill()
		b.Auth[0].Restart(b)
		ready.since(killed, time.Now())
		proven.since(killed, b.provenSince(killed)...)
		ready.times, proven.times = ready.times+1, proven.times+1
		b.fleet.Forget(b)
	}
}

func latest(times []time.Time) (last time.Time) {
	for _, at := range times {
		if at.After(last) {
			last = at
		}
	}
	return last
}
