package faults

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/test/natstest"
)

// As NATS comes, it takes minutes until a node gives up another one from which nothing is heard any more. Until then
// questions to it vanish, where "nobody is there" would be said at once.
func TestFaultsBetweenNodesAreNoticedWithinSeconds(t *testing.T) {
	if *duration == 0 {
		t.Skip("make faults DURATION=… runs it")
	}
	const limit = 20 * time.Second
	s := &System{Name: "cluster"}
	s.startNATS(t)
	key, err := nats.NkeyOptionFromSeed(s.nats.SeedFile(natstest.Operator))
	if err != nil {
		t.Fatal(err)
	}
	connect := func(node int) *nats.Conn {
		nc, err := nats.Connect(s.nats.NodeURL(node), key)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	answering, asking := connect(0), connect(1)
	if _, err := answering.Subscribe("question", func(m *nats.Msg) { m.Respond(nil) }); err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		_, err := asking.Request("question", nil, 100*time.Millisecond)
		return err
	}
	until(t, 5*time.Second, "an answer", func() bool { return ask() == nil })
	s.routes.isolate(0, true, true)
	until(t, limit, "word that nobody answers", func() bool { return errors.Is(ask(), nats.ErrNoResponders) })
	s.routes.isolate(0, false, false)
	until(t, 3*time.Second, "an answer after the fault", func() bool { return ask() == nil })
}

// until waits for real processes, which nothing else can tell of.
func until(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("no %s within %v", what, limit)
		}
	}
}
