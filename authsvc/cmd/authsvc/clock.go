//go:build !tocsin_defects

package main

import "github.com/tocsin-auth/tocsin/authsvc/internal/store"

// wrongClock is nothing: the database's clock is taken as it is.
func wrongClock() []store.Option { return nil }
