package issuing

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/stage"
	"github.com/tocsin-auth/tocsin/test/system"
)

// bench is one system under measurement.
type bench struct {
	*testing.T
	*stage.Stage
	users    pool[*user]
	sessions pool[session]
	named    atomic.Int64
	found    []*seen
}

// call is one kind of call.
type call struct {
	name string
	do   func(*client) error
	// ends: it uses sessions up.
	ends bool
}

// cheap are measured with hashes that cost nothing, and make what the others need.
var cheap = []call{
	{"register, argon2 aside", (*client).register, false},
	{"login, argon2 aside", (*client).login, false},
}

var shipped = []call{
	{"refresh", (*client).refresh, false},
	{"logout, wait=none", func(c *client) error { return c.logout("?wait=none") }, true},
	{"logout", func(c *client) error { return c.logout("") }, true},
	{"revoke, wait=none", func(c *client) error { return c.revoke("?wait=none") }, true},
	{"revoke", func(c *client) error { return c.revoke("") }, true},
	{"register", (*client).register, false},
	{"login", (*client).login, false},
}

// sessionsEach is how many sessions there are at least for each call that ends one, at a rate of the best.
func sessionsEach() int { return max(50, int(each.Seconds()*3000)) }

func (b *bench) measure() {
	for range *rounds {
		b.hashCheaply()
		b.prepare()
		b.all(cheap)
		b.asShipped()
		b.all(shipped)
	}
}

// hashCheaply restarts the processes with the switch.
func (b *bench) hashCheaply() {
	b.Helper()
	dir, err := system.BuildDefective(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.restart(dir, "TOCSIN_DEFECTS=cheap-hashes")
}

func (b *bench) asShipped() {
	b.Helper()
	dir, err := system.Build(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.restart(dir, "TOCSIN_DEFECTS=")
}

func (b *bench) restart(dir string, env string) {
	b.Helper()
	for _, a := range b.Auth {
		a.Stop(b)
	}
	for _, a := range b.Auth {
		a.Use(filepath.Join(dir, "authsvc"), env)
		a.Restart(b)
	}
}

// prepare registers users, and opens the sessions that will be ended.
func (b *bench) prepare() {
	b.Helper()
	const hands = 8
	const sessionsOfUser = 50 // beyond 200 authsvc ends the oldest
	want := 0
	for _, c := range shipped {
		if c.ends && chosen(c.name) {
			want += sessionsEach()
		}
	}
	users := max(slices.Max(stage.Numbers(b, "clients", *clients)), want/sessionsOfUser)
	b.until(hands, (*client).register, func() bool { return b.users.len() >= users })
	b.until(hands, (*client).login, func() bool { return b.sessions.len() >= want })
}

func (b *bench) until(hands int, do func(*client) error, enough func() bool) {
	b.Helper()
	b.run(b.crew(hands), func(c *client) error {
		for !enough() {
			if err := do(c); err != nil {
				return err
			}
		}
		return nil
	})
}

func chosen(name string) bool {
	return *only == "" || slices.Contains(strings.Split(*only, "|"), name)
}

func (b *bench) all(calls []call) {
	for _, c := range calls {
		for _, n := range stage.Numbers(b, "clients", *clients) {
			if chosen(c.name) {
				b.one(c, n)
			}
		}
	}
}

// one measures one call with one number of clients.
func (b *bench) one(c call, clients int) {
	b.Helper()
	crew := b.crew(clients)
	if c.name == "refresh" {
		b.hold(crew)
	}
	var times sync.Mutex
	s := b.seen(c.name, clients)
	left := b.sessions.len() / 2
	begun, used := time.Now(), b.cpu()
	b.run(crew, func(one *client) error {
		var own []time.Duration
		defer func() {
			times.Lock()
			defer times.Unlock()
			s.Add(own...)
		}()
		for time.Since(begun) < *each && !(c.ends && b.sessions.len() <= left) {
			start := time.Now()
			if err := c.do(one); err != nil {
				return err
			}
			own = append(own, time.Since(start))
		}
		return nil
	})
	s.elapsed += time.Since(begun)
	s.cpu += b.cpu() - used
}

// hold gives each client a session of its own to refresh.
func (b *bench) hold(crew []*client) {
	b.Helper()
	for _, c := range crew {
		s, ok := b.sessions.take()
		if !ok {
			var err error
			if s, err = c.open(b.users.next()); err != nil {
				b.Fatal(err)
			}
		}
		c.held = s
	}
}

func (b *bench) seen(call string, clients int) *seen {
	for _, s := range b.found {
		if s.call == call && s.clients == clients {
			return s
		}
	}
	s := &seen{call: call, clients: clients}
	b.found = append(b.found, s)
	return s
}

// crew connects clients, to all authsvc in turn.
func (b *bench) crew(size int) (all []*client) {
	b.Helper()
	for i := range size {
		w, err := dial(b.Auth[i%len(b.Auth)].Base)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, &client{wire: w, bench: b})
	}
	return all
}

// run lets all clients work at once, waits for them and closes their connections.
func (b *bench) run(crew []*client, work func(*client) error) {
	b.Helper()
	var group sync.WaitGroup
	for _, c := range crew {
		group.Go(func() {
			defer c.conn.Close()
			if err := work(c); err != nil && !errors.Is(err, errSpent) {
				b.Error(err)
			}
		})
	}
	group.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

func (b *bench) newName() string { return fmt.Sprintf("user-%d", b.named.Add(1)) }

// cpu returns what all authsvc have used so far; 0 where the system doesn't tell.
func (b *bench) cpu() (sum time.Duration) {
	for _, a := range b.Auth {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", a.PID()))
		_, after, _ := strings.Cut(string(stat), ") ") // the name before it may hold anything
		if fields := strings.Fields(after); len(fields) > 12 {
			sum += ticks(fields[11]) + ticks(fields[12]) // proc(5): utime, stime
		}
	}
	return sum
}

// ticks are hundredths of a second, on every system that Go knows.
func ticks(text string) time.Duration {
	n, _ := strconv.ParseInt(text, 10, 64)
	return time.Duration(n) * 10 * time.Millisecond
}
