package main

import (
	"context"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/httpapi"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// receipts is the feed's receipts in the words of HTTP.
type receipts struct{ *feed.Receipts }

func (r receipts) Expect(wait httpapi.Wait) func() { return r.Receipts.Expect(feed.Wait(wait)) }

func (r receipts) Receipt(ctx context.Context, eventIDs []string, wait httpapi.Wait, timeout time.Duration) (httpapi.Receipt, error) {
	got, err := r.Wait(ctx, eventIDs, feed.Wait(wait), timeout)
	out := httpapi.Receipt{EventID: got.EventID, Epoch: got.Epoch, Seq: got.Seq, Published: got.Published}
	if got.Fleet != nil {
		out.Fleet = &httpapi.Fleet{Applied: got.Fleet.Applied, Laggards: make([]httpapi.Laggard, 0, len(got.Fleet.Laggards))}
		if got.Fleet.Known {
			out.Fleet.Total = &got.Fleet.Total
		}
		for _, l := range got.Fleet.Laggards {
			out.Fleet.Laggards = append(out.Fleet.Laggards, httpapi.Laggard(l))
		}
	}
	return out, err
}

// fleets is the feed's fleet in the words of HTTP.
type fleets struct{ *feed.Fleet }

func (f fleets) Verifiers() []httpapi.Verifier {
	heard := f.Fleet.Verifiers()
	all := make([]httpapi.Verifier, 0, len(heard))
	for _, v := range heard {
		v.LastSeen = v.LastSeen.UTC()
		all = append(all, httpapi.Verifier(v))
	}
	return all
}

// laterBus is the bus for the domain, which is made before the bus has started and asks it nothing until then.
type laterBus struct{ *program }

func (b laterBus) NewMember(name string) (nkey, seed string, err error) { return b.bus.NewMember(name) }

func (b laterBus) Configuration(name, nkey string) (string, error) {
	return b.bus.Configuration(name, nkey)
}

func (b laterBus) Sync(ctx context.Context, members []store.Service) error {
	return b.bus.Sync(ctx, members)
}
