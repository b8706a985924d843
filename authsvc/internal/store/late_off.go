//go:build !tocsin_defects || !linux

package store

// lateEvents is nothing: events are in the transaction of their change.
type lateEvents struct{}

func (lateEvents) keep([]any) {}

func (lateEvents) committed(*DB, error) {}
