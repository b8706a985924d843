package auth

import (
	"context"
	"database/sql"
	"sync"
	"testing"

	"github.com/tocsin-auth/tocsin/test/pgtest"
)

// Exchanges of one worker wait for each other. They must not do so with all of the connections.
func TestExchangesThatWaitForAWorkerKeepNobodyElseFromTheDatabase(t *testing.T) {
	url := pgtest.URL(t)
	p := newWorkplace(t, newWorld(t, url))
	grant, _ := p.exchange(t, p.wantGrantOfKey())
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	held, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.ExecContext(t.Context(), `SELECT id FROM users WHERE id = $1 FOR UPDATE`, p.worker.ID); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 100)
	var all sync.WaitGroup
	for range cap(done) {
		all.Go(func() {
			_, err := p.Exchange(ctx, p.client, use(grant))
			done <- err
		})
	}
	if !waits(t, url, done) {
		t.Error("they don't wait for the worker's row")
	}
	p.login(t, "root")
	if err := held.Rollback(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Errorf("once the row is free: %v", err)
	}
	cancel()
	all.Wait()
}
