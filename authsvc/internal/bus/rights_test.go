package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// The feed's credentials may not listen to questions; the answers' may.
func TestAnsweringWithTheFeedsCredentialsIsRefused(t *testing.T) {
	dir := t.TempDir()
	server, err := Start(t.Context(), Config{DataDir: dir, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeBus(t, server)
	for user, want := range map[string]error{seedFeed: ErrRefused, seedReply: nil} {
		b, err := Start(t.Context(), Config{URL: server.URL(), Creds: SeedFile(dir, seedFeed), ReplyCreds: SeedFile(dir, user), Log: slog.New(slog.DiscardHandler)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 { // so that what is refused isn't the last thing that the client was told
			if _, err := b.Reply().Subscribe(events.ProofSubject("*"), func(*nats.Msg) {}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.Granted(ctx); !errors.Is(err, want) {
			t.Errorf("as %s: granted: %v", user, err)
		}
		if err := b.Refused(); !errors.Is(err, want) {
			t.Errorf("as %s: refused: %v", user, err)
		}
		closeBus(t, b)
	}
}

func closeBus(t *testing.T, b *Bus) {
	t.Helper()
	if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func refusedMessage() error {
	return fmt.Errorf(`%w: Permissions Violation for Publish to "_R_.x"`, nats.ErrPermissionViolation)
}

// What a pause has made late is refused, too, and says nothing of what comes after.
func TestAnswersAreTakenForRefusedWhenNoneComesThrough(t *testing.T) {
	r := newRights(userReply, slog.New(slog.DiscardHandler))
	r.connected()
	var sent uint64
	look := func(messages, refused int) error {
		var last error
		for range refused {
			last = refusedMessage()
			r.hear(last)
		}
		sent += uint64(messages)
		return r.look(t.Context(), sent, func() error { return last })
	}
	for i, step := range []struct {
		sent, refused int
		want          error
	}{{3, 3, nil}, {0, 0, nil}, {3, 2, nil}, {1, 1, nil}, {4, 0, nil}, {1, 1, nil}, {0, 0, nil}, {2, 2, ErrRefused}, {0, 0, ErrRefused}} {
		if err := look(step.sent, step.refused); !errors.Is(err, step.want) {
			t.Errorf("step %d: %v, want %v", i, err, step.want)
		}
	}
	r.connected()
	if err := r.verdict(); err != nil {
		t.Errorf("on a new connection: %v", err)
	}
}

// A client tells of refusals beside everything else, so what it has read may not be known yet.
func TestALookWaitsForWhatTheServerHasSaid(t *testing.T) {
	r := newRights(userReply, slog.New(slog.DiscardHandler))
	said := fmt.Errorf(`%w: Permissions Violation for Subscription to %q`, nats.ErrPermissionViolation, events.ProofSubject("*"))
	asked := make(chan struct{}, 2)
	go func() {
		<-asked
		r.hear(refusedMessage())
		<-asked
		r.hear(said)
	}()
	if err := r.look(t.Context(), 0, func() error { asked <- struct{}{}; return said }); !errors.Is(err, ErrRefused) {
		t.Errorf("look: %v", err)
	}
}
