package faults

import (
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
	"github.com/tocsin-auth/tocsin/test/system"
)

// stormy is how many verifiers come at once, and stormBound their B: the default.
const (
	stormy     = 200
	stormBound = 30 * time.Second
)

// Two hundred verifiers that have lost everything at the same moment come back without a good call being refused by any
// of them, however hard they press on authsvc. `make faults` runs it on the cluster too.
func TestNoCollateralOfAReconnectStorm(t *testing.T) {
	t.Run("single", func(t *testing.T) { testStorm(t, "single", (*System).killSingle) })
	t.Run("cluster", func(t *testing.T) {
		if *duration == 0 || *setUp == "single" {
			t.Skip("make faults DURATION=… SETUP=cluster runs it")
		}
		testStorm(t, "cluster", (*System).killNodes)
	})
}

// killSingle kills authsvc with the bus in it, and starts it again.
func (s *System) killSingle(t testing.TB) {
	s.Auth[0].Kill()
	s.Auth[0].Restart(t)
}

// killNodes kills all of NATS, and starts it again.
func (s *System) killNodes(t testing.TB) {
	for i := range natstest.Nodes {
		s.nats.Kill(i)
	}
	for i := range natstest.Nodes {
		s.nats.Start(t, i)
	}
	s.nats.WaitReady(t)
}

func testStorm(t *testing.T, name string, kill func(*System, testing.TB)) {
	s := &System{Name: name, Recorder: NewRecorder(stormBound), bound: stormBound, memory: &Memory{}}
	SetUps[name](s, t)
	admin := s.Auth[0].Admin(t)
	c := &crowd{System: s, t: t, good: s.Auth[0].Register(t, "good")}
	if err := c.revoke(admin, c.logIn(1)...); err != nil { // so that there is something to read
		t.Fatal(err)
	}
	used, began := c.processorTime(), time.Now()
	c.start(stormy)
	c.awaitFresh(began)
	t.Logf("%d verifiers start from nothing: all fresh after %v; authsvc used %v of processor time",
		stormy, time.Since(began).Round(time.Millisecond), c.processorTime()-used)
	c.storm("all connections cut", admin, func() { c.cutAll() })
	c.countedByReceipts(admin)
	c.storm("NATS killed and started again", admin, func() { kill(s, t) })
}

// cutAll ends every connection to the bus.
func (c *crowd) cutAll() {
	for _, p := range c.proxies {
		p.Cut()
	}
	for _, r := range c.Resources {
		for _, p := range r.bus {
			p.Cut()
		}
	}
	for _, nodes := range c.authBus {
		for _, p := range nodes {
			p.Cut()
		}
	}
}

// storm strikes in the middle of revocations, and lets good and dead tokens be used everywhere until all is well.
func (c *crowd) storm(name string, admin system.User, strike func()) {
	c.t.Helper()
	tokens := c.logIn(6)
	c.calls, c.rss = 0, 0
	stop, beat := c.watch(), machine.Listen()
	defer stop()
	defer beat.Stop()
	if err := c.revoke(admin, tokens[:3]...); err != nil {
		c.t.Fatal(err)
	}
	began := time.Now()
	strike()
	healed, used := time.Now(), c.processorTime()
	revoked := make(chan error, 1)
	go func() { revoked <- c.revoke(admin, tokens[3:]...) }()
	c.awaitFresh(healed)
	ended := time.Now()
	used = c.processorTime() - used
	if err := <-revoked; err != nil {
		c.t.Fatal(err)
	}
	c.awaitFresh(time.Now()) // by then each knows of all that was revoked
	stop()
	c.mustKnowAll()
	// On a machine that hardly runs it may last for longer than B: then good calls are refused, as they have to be.
	took, stood := ended.Sub(began), beat.StoodStill(began, ended)
	if took > c.bound-proofMargin && stood < machine.Stall {
		c.t.Fatalf("%s: the storm lasted %v", name, took)
	}
	late := c.verdict(took > c.bound-proofMargin)
	c.t.Logf("%s: %v without it, then all fresh after %v; the last acceptance of a dead token %v after its revocation; %d good calls, none refused; authsvc: %v of processor time meanwhile, %d MiB at most",
		name, healed.Sub(began).Round(time.Millisecond), ended.Sub(healed).Round(time.Millisecond), late.Round(time.Millisecond), c.calls, used, c.rss>>20)
}

// countedByReceipts: a receipt knows all of them. How many there may be besides isn't known so soon after the start.
func (c *crowd) countedByReceipts(admin system.User) {
	c.t.Helper()
	want := len(c.members) + len(c.Resources)
	for deadline := time.Now().Add(machine.Patience); ; {
		got := c.Auth[0].Must(c.t, 200, "POST", "/v1/admin/revocations?wait=fleet&timeout=1s", admin.Auth(), map[string]any{"jti": nobodysToken()})
		r := got.Receipt(c.t)
		if r.Fleet != nil && r.Fleet.Applied == want {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the receipt knows of %+v, there are %d", r.Fleet, want)
		}
	}
}
