package faults

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

// As NATS comes, it takes minutes until a node gives up another one from which nothing is heard any more. Until then
// questions to it vanish, where "nobody is there" would be said at once.
func TestFaultsBetweenNodesAreNoticedWithinSeconds(t *testing.T) {
	if *duration == 0 {
		t.Skip("make faults DURATION=… runs it")
	}
	const limit = time.Minute // as NATS comes, it is four
	s := &System{Name: "cluster"}
	s.startNATS(t)
	key, err := nats.NkeyOptionFromSeed(s.nats.SeedFile(natstest.Operator))
	if err != nil {
		t.Fatal(err)
	}
	connect := func(node int) *nats.Conn {
		nc := natstest.Dial(t, s.nats.NodeURL(node), key)
		t.Cleanup(nc.Close)
		return nc
	}
	answering, asking := connect(0), connect(1)
	if _, err := answering.Subscribe("question", func(m *nats.Msg) { m.Respond(nil) }); err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		_, err := asking.Request("question", nil, time.Second)
		return err
	}
	machine.Await(t, "an answer", func() bool { return ask() == nil })
	beat, isolated := machine.Listen(), time.Now()
	s.routes.isolate(0, true, true)
	machine.Await(t, "word that nobody answers", func() bool { return errors.Is(ask(), nats.ErrNoResponders) })
	if took, stood := time.Since(isolated), beat.Stop(); took > limit+stood {
		t.Errorf("nobody said so within %v", limit)
	}
	s.routes.isolate(0, false, false)
	machine.Await(t, "an answer after the fault", func() bool { return ask() == nil })
}
