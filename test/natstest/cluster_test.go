package natstest_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

// store publishes into the stream until it is acknowledged; without a leader it isn't.
func store(t *testing.T, nc *nats.Conn) uint64 {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		one, done := context.WithTimeout(ctx, time.Second)
		ack, err := js.Publish(one, events.FeedSubject(events.TypeKeysChanged), []byte("x"))
		done()
		if err == nil {
			return ack.Sequence
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// awaitReplicas waits until every node has all of a stream.
func awaitReplicas(t *testing.T, stream jetstream.Stream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		info, err := stream.Info(ctx)
		if err == nil && len(info.Cluster.Replicas) == natstest.Nodes-1 && !slices.ContainsFunc(info.Cluster.Replicas, lacks) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%+v %v", info, err)
		}
	}
}

func lacks(peer *jetstream.PeerInfo) bool { return !peer.Current || peer.Offline || peer.Lag > 0 }

func TestClusterGoesOnWithoutAKilledOrFrozenNode(t *testing.T) {
	c := natstest.StartCluster(t, "cars")
	nc := c.Connect(t, natstest.AuthFeed, nats.PingInterval(200*time.Millisecond), nats.MaxPingsOutstanding(1))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: events.StreamName,
		Subjects: []string{events.StreamSubjects}, Replicas: natstest.Nodes})
	if err != nil {
		t.Fatal(err)
	}
	last := store(t, nc)
	c.Kill(0)
	if seq := store(t, nc); seq <= last {
		t.Errorf("after a kill: seq %d, want above %d", seq, last)
	} else {
		last = seq
	}
	c.Start(t, 0)
	c.WaitReady(t)
	awaitReplicas(t, stream) // two nodes that lack something are more than the cluster stands
	c.Freeze(t, 1)
	if seq := store(t, nc); seq <= last {
		t.Errorf("while a node is frozen: seq %d, want above %d", seq, last)
	}
	c.Thaw(t, 1)
}

func TestPlainServerKeepsItsStreamThroughARestart(t *testing.T) {
	s := natstest.Start(t)
	nc := s.Connect(t, "anyone")
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: events.StreamName,
		Subjects: []string{events.StreamSubjects}}); err != nil {
		t.Fatal(err)
	}
	store(t, nc)
	s.Restart(t)
	if seq := store(t, nc); seq != 2 {
		t.Errorf("seq %d, want 2", seq)
	}
}
