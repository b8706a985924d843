package auth

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// slowBus lets somebody act while it is told for the first time.
type slowBus struct {
	memoryBus
	first func()
}

func (b *slowBus) Sync(ctx context.Context, members []store.Service) error {
	if first := b.first; first != nil {
		b.first = nil
		first()
	}
	return b.memoryBus.Sync(ctx, members)
}

func TestAServiceThatWasRemovedIsNotLetInByAnOlderReading(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		root := w.as(t, "root")
		bus := &slowBus{}
		w.cfg.Bus = bus
		if _, err := w.AddService(t.Context(), root, "cars"); err != nil {
			t.Fatal(err)
		}
		removed := make(chan error, 1)
		bus.first = func() {
			go func() { removed <- w.RemoveService(context.Background(), root, "cars") }()
			select {
			case err := <-removed:
				removed <- err
			case <-time.After(100 * time.Millisecond): // it waits for its turn
			}
		}
		if _, err := w.AddService(t.Context(), root, "jobs"); err != nil {
			t.Fatal(err)
		}
		if err := <-removed; err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(bus.members, " "); got != "jobs" {
			t.Errorf("the bus admits %s", got)
		}
	})
}
