package linktest

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

func TestAMirrorServesWhoCatchesUpAndProvesNothing(t *testing.T) {
	c := natstest.Layout{Services: []string{service}, Operator: true}.Start(t)
	forever := nats.MaxReconnects(-1)
	a := newAuthority(t, c.Connect(t, natstest.AuthFeed, forever), c.Connect(t, natstest.AuthReply, forever), 1)
	first, last := a.revoke(3000)
	a.store(first, last, 10)
	mirrored(t, c.Connect(t, natstest.Operator))

	// The stream itself is gone, with its region: the mirror answers on its subject, so that who reads needn't know of it.
	behind := last
	_, last = a.revoke(50) // which the mirror has never had
	v := start(t, c.URL(), c.SeedFile(service))
	stats := await(t, v, last)
	if stats.CatchUps["stream"] == 0 || stats.Revocations != 3050 {
		t.Fatalf("%+v", stats)
	}
	// What it lacked came as pages from authsvc: a head that was proven is never taken to be reached by what a mirror has.
	if a.times(events.SnapshotSubject("*")) == 0 {
		t.Errorf("the mirror has %d events, the head is %d, and nothing was read elsewhere", behind, last)
	}
}

// mirrored makes a mirror of the stream, waits until it has everything, and deletes the stream.
func mirrored(t *testing.T, operator *nats.Conn) {
	js, err := jetstream.New(operator)
	if err != nil {
		t.Fatal(err)
	}
	original, err := js.Stream(t.Context(), events.StreamName)
	if err != nil {
		t.Fatal(err)
	}
	mirror, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: events.StreamName + "_MIRROR", Mirror: &jetstream.StreamSource{Name: events.StreamName}, AllowDirect: true, MirrorDirect: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) { // servers of their own
		info, err := mirror.Info(t.Context())
		if err == nil && info.State.Msgs == original.CachedInfo().State.Msgs {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the mirror doesn't fill: %v", err)
		}
	}
	if err := js.DeleteStream(t.Context(), events.StreamName); err != nil {
		t.Fatal(err)
	}
}
