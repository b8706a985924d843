package fanout

import (
	"fmt"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/bench/fleet"
	"github.com/tocsin-auth/tocsin/test/bench/stage"
	"github.com/tocsin-auth/tocsin/test/system"
)

const (
	// perProcess is how many verifiers share a process at most, and watchers how many of one look when they refuse.
	perProcess, watchers = 250, 4
	// settle lets the start of a fleet or of a load be over.
	settle = time.Second
	// deliveries is how many messages a second all verifiers together are given at most: each costs one of them 50 to 100 µs, and
	// they share this machine. To revoke more, calls name several users at once.
	deliveries = 5_000
	// mostUsers are in one call: with more, the largest fleet would have to be given more bytes than this machine can copy.
	mostUsers = 100
	// sampleEvery is how often the way of one revocation is measured meanwhile.
	sampleEvery = 100 * time.Millisecond
)

// bench is a system that is measured.
type bench struct {
	*stage.Stage
	auth   *system.Auth
	admin  string
	sample system.User
	users  []string
}

func newBench(t testing.TB, s *stage.Stage) *bench {
	t.Helper()
	b := &bench{Stage: s, auth: s.Auth[0]}
	b.admin, b.sample = b.auth.Admin(t).Auth(), b.auth.Register(t, "fan-out")
	return b
}

// someUsers returns that many users; they are made when they are first needed.
func (b *bench) someUsers(t testing.TB, n int) []string {
	for len(b.users) < n {
		var made struct{ User struct{ ID string } }
		name := fmt.Sprintf("one-of-many-%d", len(b.users))
		b.auth.Must(t, 201, "POST", "/v1/register", "", map[string]string{"username": name, "password": "as long as it has to be"}).Into(t, &made)
		b.users = append(b.users, made.User.ID)
	}
	return b.users[:n]
}

// load makes a number of revocations a second out of as many calls as the verifiers can be given, and returns how many
// one call makes.
func (b *bench) load(t testing.TB, verifiers, rate int) (l *load, together int) {
	calls := min(rate, max(1, deliveries/max(1, verifiers)))
	if together = min(rate/calls, mostUsers); together == 1 {
		return paced(b.auth, b.admin, rate, nil), 1
	}
	return paced(b.auth, b.admin, rate/together, b.someUsers(t, together)), together
}

// reading is what was measured with one fleet under one load.
type reading struct {
	verifiers, rate      int // rate: revocations a second, as wanted
	together             int // revocations in a call
	elapsed              time.Duration
	auth, nats, database time.Duration // CPU
	fleet                time.Duration // of all verifiers
	bus                  traffic
	messages             uint64 // of events: as many as the stream has taken
	proofs, events       uint64 // of all verifiers
	calls                figure.Distribution
	arrival              figure.Distribution // from the answer to a call until the last watcher refused
	caughtUp             time.Duration       // how long after the end of the load the last verifier had everything
}

func (b *bench) start(t testing.TB, n int) (all []*fleet.Fleet) {
	for left := n; left > 0; left -= perProcess {
		urls := make([]string, min(left, perProcess))
		for i := range urls {
			urls[i] = stage.URL(b.Bus)
		}
		all = append(all, fleet.Start(t, fleet.Config{Issuer: b.Issuer, Credentials: b.Credentials, URLs: urls, Bound: bound, Watchers: watchers}))
	}
	return all
}

// fleet measures some verifiers at rest and at each rate.
func (b *bench) fleet(t testing.TB, n int, rates []int) (all []reading) {
	fleets := b.start(t, n)
	for _, rate := range append([]int{0}, rates...) {
		var l *load
		together := 1
		if rate > 0 {
			l, together = b.load(t, n, rate)
		}
		r := b.measure(t, fleets, l)
		r.verifiers, r.rate, r.together = n, rate, together
		all = append(all, r)
		t.Logf("%d verifiers, %d/s: %d calls in %v, CPU of authsvc %v, NATS %v, verifiers %v", n, rate, r.calls.Len(), r.elapsed, r.auth, r.nats, r.fleet)
	}
	for _, f := range fleets {
		f.Close()
	}
	return all
}

// measure runs for *each, and ends the load, if there is one.
func (b *bench) measure(t testing.TB, fleets []*fleet.Fleet, l *load) (r reading) {
	time.Sleep(settle)
	before, began := b.usage(t, fleets), time.Now()
	if l != nil {
		l.begin()
	}
	for time.Since(began) < *each {
		if l != nil && len(fleets) > 0 {
			r.arrival.Add(b.arrival(t, fleets))
		}
		time.Sleep(min(sampleEvery, max(0, *each-time.Since(began))))
	}
	if l != nil {
		r.calls = l.count(t)
	}
	r.add(before, b.usage(t, fleets))
	r.elapsed = time.Since(began)
	if l != nil {
		l.stop()
		r.caughtUp = b.caughtUp(t, fleets)
	}
	return r
}

// arrival revokes a token that all watchers have just accepted.
func (b *bench) arrival(t testing.TB, fleets []*fleet.Fleet) time.Duration {
	stage.Refresh(t, b.auth, &b.sample)
	for _, f := range fleets {
		f.Watch(t, b.sample.Token)
	}
	b.auth.Must(t, 200, "POST", "/v1/admin/revocations?wait=none", b.admin, map[string]any{"token": b.sample.Token})
	answered := time.Now()
	var last time.Time
	for _, f := range fleets {
		refused, _ := f.Refusals(t)
		for _, at := range refused {
			if at.After(last) {
				last = at
			}
		}
	}
	return last.Sub(answered)
}

// caughtUp makes one more revocation and waits until every verifier has it.
func (b *bench) caughtUp(t testing.TB, fleets []*fleet.Fleet) time.Duration {
	begun := time.Now()
	seq := b.auth.Must(t, 200, "POST", "/v1/admin/revocations?wait=published&timeout=30s", b.admin, map[string]any{"jti": newID()}).Receipt(t).Seq
	for seq != nil && b.usage(t, fleets).applied < *seq {
		if time.Since(begun) > 2*time.Minute {
			t.Fatal("a verifier doesn't get what was revoked two minutes ago")
		}
		time.Sleep(10 * time.Millisecond) // real processes
	}
	return time.Since(begun)
}

// used is what everything has used up to a moment.
type used struct {
	auth, nats, database, fleet time.Duration
	bus                         traffic
	stream                      stored
	proofs, events, applied     uint64
}

func (b *bench) usage(t testing.TB, fleets []*fleet.Fleet) (u used) {
	u.applied = 1<<64 - 1
	for _, f := range fleets {
		one := f.Usage(t, false)
		u.fleet += one.CPU
		u.proofs, u.events, u.applied = u.proofs+one.Proofs, u.events+one.Events, min(u.applied, one.Applied)
	}
	u.auth, u.nats = cpu(t, b.auth.PID()), cpu(t, b.NATS.PID())
	if b.Postgres != nil {
		pids, err := b.Postgres.PIDs()
		if err != nil {
			t.Fatal(err)
		}
		u.database = cpu(t, pids...)
	}
	u.bus = monitored[traffic](t, b.NATS.Monitor(), "/varz")
	u.stream = monitored[stored](t, b.NATS.Monitor(), "/jsz")
	return u
}

func (r *reading) add(before, after used) {
	r.auth, r.nats, r.database, r.fleet = after.auth-before.auth, after.nats-before.nats, after.database-before.database, after.fleet-before.fleet
	r.bus, r.messages = after.bus.since(before.bus), after.stream.Messages-before.stream.Messages
	r.proofs, r.events = after.proofs-before.proofs, after.events-before.events
}
