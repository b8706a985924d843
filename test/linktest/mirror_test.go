package linktest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/machine"
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
	machine.Steadily(t, func() error {
		stats := await(t, start(t, c.URL(), c.SeedFile(service)), last)
		if stats.CatchUps["stream"] == 0 || stats.Revocations != 3050 {
			return fmt.Errorf("%+v", stats)
		}
		return nil
	})
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
	var original, mirror jetstream.Stream
	natstest.Insist(t, "find the stream", func(ctx context.Context) (err error) {
		original, err = js.Stream(ctx, events.StreamName)
		return err
	})
	natstest.Insist(t, "make the mirror", func(ctx context.Context) (err error) {
		mirror, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: events.StreamName + "_MIRROR", Mirror: &jetstream.StreamSource{Name: events.StreamName}, AllowDirect: true, MirrorDirect: true,
		})
		return err
	})
	natstest.Insist(t, "fill the mirror", func(ctx context.Context) error {
		info, err := mirror.Info(ctx)
		if err == nil && info.State.Msgs != original.CachedInfo().State.Msgs {
			err = fmt.Errorf("%d messages of %d", info.State.Msgs, original.CachedInfo().State.Msgs)
		}
		return err
	})
	natstest.Insist(t, "delete the stream", func(ctx context.Context) error {
		err := js.DeleteStream(ctx, events.StreamName)
		if errors.Is(err, jetstream.ErrStreamNotFound) { // by a try whose answer was lost
			return nil
		}
		return err
	})
}
