//go:build tocsin_defects

package main

import (
	"os"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiermodel"
)

// wrongClock sets the database's clock wrong by the duration in the file that TOCSIN_WRONG_CLOCK names. On SQLite that is
// this machine's; replicas on one PostgreSQL are given the same file. No other reading of a wall clock decides anything
// in authsvc: it waits by the monotonic one.
func wrongClock() []store.Option {
	path := os.Getenv("TOCSIN_WRONG_CLOCK")
	if path == "" {
		return nil
	}
	return []store.Option{store.WithClockOffset(verifiermodel.OffsetIn(path))}
}
