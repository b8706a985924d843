package natstest_test

import (
	"context"
	"fmt"
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
	var ack *jetstream.PubAck
	natstest.Insist(t, "store a message", func(ctx context.Context) (err error) {
		ack, err = js.Publish(ctx, events.FeedSubject(events.TypeKeysChanged), []byte("x"))
		return err
	})
	return ack.Sequence
}

// awaitReplicas waits until every node has all of a stream.
func awaitReplicas(t *testing.T, stream jetstream.Stream) {
	t.Helper()
	natstest.Insist(t, "find all of the stream on every node", func(ctx context.Context) error {
		info, err := stream.Info(ctx)
		if err == nil && (len(info.Cluster.Replicas) != natstest.Nodes-1 || slices.ContainsFunc(info.Cluster.Replicas, lacks)) {
			err = fmt.Errorf("%+v", info.Cluster)
		}
		return err
	})
}

func lacks(peer *jetstream.PeerInfo) bool { return !peer.Current || peer.Offline || peer.Lag > 0 }

func TestClusterGoesOnWithoutAKilledOrFrozenNode(t *testing.T) {
	c := natstest.StartCluster(t, "cars")
	nc := c.Connect(t, natstest.AuthFeed, nats.PingInterval(200*time.Millisecond), nats.MaxPingsOutstanding(1))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var stream jetstream.Stream
	natstest.Insist(t, "create the stream", func(ctx context.Context) (err error) {
		stream, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: events.StreamName,
			Subjects: []string{events.StreamSubjects}, Replicas: natstest.Nodes})
		return err
	})
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
	natstest.Insist(t, "create the stream", func(ctx context.Context) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: events.StreamName, Subjects: []string{events.StreamSubjects}})
		return err
	})
	first := store(t, nc)
	s.Restart(t)
	if seq := store(t, nc); seq <= first { // more than one above it, if an acknowledgement came too late
		t.Errorf("seq %d after %d", seq, first)
	}
}
