package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/keyring"
)

// followEvery is how soon a replica signs with a feed key that another has made. An old key stays for much longer.
const followEvery = time.Second

// followKeys takes in what other replicas change in the key sets, so that this one signs with the present feed key however
// little it is asked. The returned function ends that.
func followKeys(ring *keyring.Ring, log *slog.Logger) (stop func(context.Context) error) {
	return every(followEvery, func(ctx context.Context) { refresh(ctx, ring, log) })
}

func refresh(ctx context.Context, ring *keyring.Ring, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, 2*followEvery)
	defer cancel()
	if err := ring.Refresh(ctx); err != nil {
		log.DebugContext(ctx, "the signing keys can't be read", "error", err)
	}
}
