package faults

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

// singleStreamKinds and clusterStreamKinds lose what the stream holds, or set it back. Whoever runs lives by the live feed
// and by proofs, so that losses which end no process are spared.
var (
	singleStreamKinds = []kind{
		{name: "squeeze the stream", weight: 1, do: (*Injector).squeezeStream},
		{name: "kill authsvc and put an old copy of the stream back", weight: 2, do: (*Injector).oldStream},
	}
	clusterStreamKinds = []kind{
		{name: "squeeze the stream", weight: 1, do: (*Injector).squeezeStream},
		{name: "delete the stream", weight: 1, do: (*Injector).deleteStream},
		{name: "recreate the stream with another configuration", weight: 1, do: (*Injector).recreateStream},
		{name: "recreate the stream and purge it", weight: 1, do: (*Injector).purgeStream},
		{name: "kill one NATS node and wipe its store", weight: 1, do: (*Injector).wipeNode},
		{name: "kill one NATS node and put its old store back", weight: 1, do: (*Injector).oldNode},
		{name: "kill the NATS cluster and put its old stores back", weight: 2, do: (*Injector).oldCluster},
	}
)

// squeezeStream changes the stream's configuration under authsvc, so that it loses all messages but one.
func (j *Injector) squeezeStream() Fault {
	j.withStream("squeeze the stream", func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, events.StreamName)
		if err != nil {
			return err
		}
		c := s.CachedInfo().Config
		c.MaxMsgs = 1
		_, err = js.UpdateStream(ctx, c)
		return err
	})
	j.awaitStream()
	return Fault{Spared: true}
}

func (j *Injector) deleteStream() Fault {
	j.withStream("delete the stream", deleteStream)
	j.awaitStream()
	return Fault{Spared: true}
}

func deleteStream(ctx context.Context, js jetstream.JetStream) error {
	err := js.DeleteStream(ctx, events.StreamName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	return err
}

// recreateStream puts a stream in its place which nobody can read from directly, with one replica that keeps little.
func (j *Injector) recreateStream() Fault {
	j.replaceStream(jetstream.StreamConfig{Name: events.StreamName, Subjects: []string{events.StreamSubjects}, MaxMsgs: 2, Replicas: 1})
	j.awaitStream()
	return Fault{Spared: true}
}

// purgeStream needs a stream that may be purged.
func (j *Injector) purgeStream() Fault {
	j.replaceStream(jetstream.StreamConfig{Name: events.StreamName, Subjects: []string{events.StreamSubjects}, AllowDirect: true, Replicas: natstest.Nodes})
	j.withStream("purge the stream", func(ctx context.Context, js jetstream.JetStream) error {
		s, err := js.Stream(ctx, events.StreamName)
		if err != nil {
			return err
		}
		if s.CachedInfo().Config.DenyPurge {
			return nil // authsvc was faster
		}
		return s.Purge(ctx)
	})
	j.awaitStream()
	return Fault{Spared: true}
}

// replaceStream is faster than authsvc at making the stream anew.
func (j *Injector) replaceStream(c jetstream.StreamConfig) {
	j.withStream("replace the stream", func(ctx context.Context, js jetstream.JetStream) error {
		if err := deleteStream(ctx, js); err != nil {
			return err
		}
		_, err := js.CreateStream(ctx, c)
		return err
	})
}

func (j *Injector) wipeNode() Fault {
	node := j.rng.IntN(natstest.Nodes)
	f := j.restartNodes(func(i int) bool { return i == node }, true)
	f.Spared = true
	return f
}

// oldNode gives one node a store that the two others have gone beyond.
func (j *Injector) oldNode() Fault {
	stores, node := j.oldStores(), j.rng.IntN(natstest.Nodes)
	began := j.Recorder.Now()
	j.nats.Kill(node)
	j.wait(j.hold())
	j.nats.PutStore(j.t, node, filepath.Join(stores, strconv.Itoa(node)))
	j.nats.Start(j.t, node)
	j.nats.WaitReady(j.t)
	return Fault{Span: Span{Begin: began}, Spared: true}
}

// oldCluster sets the stream back while authsvc goes on.
func (j *Injector) oldCluster() Fault {
	stores := j.oldStores()
	began := j.Recorder.Now()
	for i := range natstest.Nodes {
		j.nats.Kill(i)
	}
	j.wait(j.between(0, j.Bound))
	for i := range natstest.Nodes {
		j.nats.PutStore(j.t, i, filepath.Join(stores, strconv.Itoa(i)))
		j.nats.Start(j.t, i)
	}
	j.nats.WaitReady(j.t)
	return Fault{Span: Span{Begin: began}}
}

// oldStream sets the embedded stream back while authsvc is away.
func (j *Injector) oldStream() Fault {
	stores, a := j.oldStores(), j.Auth[0]
	began := j.Recorder.Now()
	a.Kill()
	store := filepath.Join(a.DataDir, "nats", "jetstream")
	if err := errors.Join(os.RemoveAll(store), os.CopyFS(store, os.DirFS(filepath.Join(stores, "0")))); err != nil {
		j.t.Fatal(err)
	}
	j.restart(a)
	return Fault{Span: Span{Begin: began}}
}

// oldStores returns the copies of the stores that were made a while ago, and as often as not lets newer ones take their
// place the next time.
func (j *Injector) oldStores() string {
	if j.old == "" {
		j.saveStores()
		j.wait(j.between(time.Second, j.Bound))
		j.onChange()
	}
	stores := j.old
	if j.rng.IntN(2) == 0 {
		j.old = ""
	}
	return stores
}

func (j *Injector) saveStores() {
	j.old = filepath.Join(j.t.TempDir(), "stores")
	if j.nats != nil {
		for i := range natstest.Nodes {
			j.nats.SaveStore(j.t, i, filepath.Join(j.old, strconv.Itoa(i)))
		}
		return
	}
	a := j.Auth[0]
	a.Freeze(j.t)
	defer a.Thaw()
	if err := os.CopyFS(filepath.Join(j.old, "0"), os.DirFS(filepath.Join(a.DataDir, "nats", "jetstream"))); err != nil {
		j.t.Fatal(err)
	}
}
