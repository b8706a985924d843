package store_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/test/pgtest"
)

// pair is a primary with its standby, and the URL that names both.
type pair struct {
	primary, standby *pgtest.Server
	url              string
}

func startPair(t *testing.T) pair {
	t.Helper()
	primary, err := pgtest.StartPrivate(t.Context())
	if errors.Is(err, pgtest.ErrMissing) && !pgtest.Required() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { primary.Stop() })
	database, err := primary.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { standby.Stop() })
	return pair{primary, standby, at(t, database, primary.Addr()+","+standby.Addr())}
}

// at makes a URL name other servers.
func at(t *testing.T, address, hosts string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = hosts
	return u.String()
}

// within is the second that an elite question has, less what the way takes.
const within = 900 * time.Millisecond

func ask(ctx context.Context, db *store.DB, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return db.Readable(ctx)
}

func TestAPromotedStandbyOfTheURLIsFoundThoughTheOldPrimaryIsSilent(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	db := storetest.OpenAsShipped(t, p.url)
	var asking sync.WaitGroup
	for range 20 { // connections that will be silent
		asking.Go(func() {
			if err := db.Readable(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	// Silent for good, as a machine is that has no power: nobody closes its connections, and connecting isn't refused.
	if err := p.primary.Freeze(); err != nil {
		t.Fatal(err)
	}
	defer p.primary.Crash() // a frozen server can't be stopped
	if err := ask(t.Context(), db, within); err == nil {
		t.Fatal("a frozen primary answered")
	}
	if err := p.standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	tries := 1
	for patience := within; ask(t.Context(), db, patience) != nil; tries++ { // each connection of the pool would take one, however patient
		if tries > 3 {
			t.Fatalf("%d questions in a row, and the promoted standby isn't asked", tries)
		}
		patience *= 4 // a slow machine needs more than a second to connect
	}
	t.Logf("found by question %d", tries)
	for range 20 {
		if err := db.Readable(t.Context()); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
}

func TestAStandbyIsNeverRead(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	storetest.Open(t, p.url)
	alone := at(t, p.url, p.standby.Addr())
	for _, address := range []string{alone, alone + "&target_session_attrs=any", alone + "&target_session_attrs=standby",
		alone + "&target_session_attrs=prefer-standby"} {
		if _, err := store.Open(t.Context(), address, quiet); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a standby was opened: %v", err)
		}
	}
	// The standby first, and a machine that is silent, and one that refuses. Nobody waits for the silent one.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, hosts := range []string{p.standby.Addr() + "," + p.primary.Addr(),
		silent.Addr().String() + ",127.0.0.1:1," + p.standby.Addr() + "," + p.primary.Addr()} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		db, err := store.Open(ctx, at(t, p.url, hosts)+"&connect_timeout=3600", quiet)
		cancel()
		if err != nil {
			t.Fatalf("%s: %v", hosts, err)
		}
		if err := db.Readable(t.Context()); err != nil {
			t.Error(err)
		}
		db.Close()
	}
}
