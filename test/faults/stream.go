package faults

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

const (
	streamPatience = 30 * time.Second
	streamPoll     = 50 * time.Millisecond
)

// withStream does something by JetStream's API, again until it succeeds: as its operator in the cluster, as authsvc in the
// single set-up, where nobody else may.
func (j *Injector) withStream(what string, do func(context.Context, jetstream.JetStream) error) {
	j.t.Helper()
	ctx, cancel := context.WithTimeout(j.t.Context(), streamPatience)
	defer cancel()
	nc := j.busAdmin()
	defer nc.Close()
	js, err := jetstream.New(nc)
	for err == nil {
		one, done := context.WithTimeout(ctx, 2*time.Second)
		failed := do(one, js)
		done()
		if failed == nil {
			return
		}
		if !pause(ctx, streamPoll) {
			err = failed
		}
	}
	j.t.Fatalf("%s: %v", what, err)
}

// busAdmin connects to the bus itself, not to proxies.
func (j *Injector) busAdmin() *nats.Conn {
	j.t.Helper()
	url, user, seed := "", natstest.Operator, ""
	if j.nats != nil {
		url, seed = j.nats.URL(), j.nats.SeedFile(natstest.Operator)
	} else {
		url, user = j.Auth[0].NATSURL, natstest.AuthFeed
		seed = filepath.Join(j.Auth[0].DataDir, "nats", "authsvc.feed.nk")
	}
	key, err := nats.NkeyOptionFromSeed(seed)
	if err != nil {
		j.t.Fatal(err)
	}
	nc, err := nats.Connect(url, key, nats.CustomInboxPrefix("_INBOX_"+user), nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1), nats.ReconnectWait(streamPoll))
	if err != nil {
		j.t.Fatal(err)
	}
	return nc
}

// streamLeader is the node that leads the stream; it waits until there is one.
func (j *Injector) streamLeader() int {
	j.t.Helper()
	leader := -1
	j.withStream("look for the stream's leader", func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, events.StreamName)
		if err != nil {
			return err
		}
		for i := range natstest.Nodes {
			if c := s.CachedInfo().Cluster; c != nil && c.Leader == j.nats.NodeName(i) {
				leader = i
				return nil
			}
		}
		return fmt.Errorf("the stream has no leader: %+v", s.CachedInfo().Cluster)
	})
	return leader
}

// awaitStream waits until authsvc has given the stream what it needs: its configuration, and the feed to its end.
func (j *Injector) awaitStream() {
	j.t.Helper()
	j.withStream("wait until the stream is as it should be", func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, events.StreamName)
		if err != nil {
			return err
		}
		if c := s.CachedInfo().Config; !c.AllowDirect || !c.DenyPurge || !c.DenyDelete || c.MaxMsgs > 0 || (j.nats != nil && c.Replicas != natstest.Nodes) {
			return fmt.Errorf("configuration %+v", c)
		}
		if s.CachedInfo().State.Msgs == 0 {
			return fmt.Errorf("no messages: %+v", s.CachedInfo().State)
		}
		return nil
	})
}
