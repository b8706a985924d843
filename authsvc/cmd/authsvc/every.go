package main

import (
	"context"
	"sync"
	"time"
)

// every does something again and again until the returned function is called, which ends its context and waits for it.
func every(interval time.Duration, do func(context.Context)) (stop func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				do(ctx)
			}
		}
	})
	return func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	}
}
