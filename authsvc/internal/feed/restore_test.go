package feed_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// restores is a site whose one database is restored from a backup.
type restores struct {
	*site
	clock        *storetest.Clock // of the database
	file, backup string
}

func newRestores(t *testing.T) *restores {
	dir := t.TempDir()
	r := &restores{clock: &storetest.Clock{}, file: filepath.Join(dir, "tocsin.db"), backup: filepath.Join(dir, "backup")}
	r.site = newSite(t, "sqlite:"+r.file)
	r.options = []store.Option{r.clock.Option()}
	return r
}

// during runs a replica for as long as a test of a name.
func (s *restores) during(t *testing.T, name string, change func(*feed.Config), test func(r *replica)) {
	t.Helper()
	ended := t.Run(name, func(t *testing.T) {
		here := *s.site
		here.TB, here.change = t, change
		test(here.replica())
	})
	if !ended {
		t.FailNow()
	}
}

// restored runs a replica over the backup, and returns which sets of token keys it is told of. It gives the import that end.
func (s *restores) restored(t *testing.T, name string, end error) (keys []events.Hash) {
	t.Helper()
	copyDatabase(t, s.backup, s.file)
	told := make(chan []events.Hash, 1)
	change := func(c *feed.Config) {
		c.Restored = func(_ context.Context, keys []events.Hash) error {
			select {
			case told <- keys:
			default: // tried again
			}
			return end
		}
	}
	s.during(t, name, change, func(r *replica) {
		r.await("import", func() bool {
			select {
			case keys = <-told:
				return true
			default:
				return false
			}
		})
		r.await("carry-over in the stream", func() bool { now := r.Stats(); return now.Head > 0 && now.Published == now.Head })
	})
	return keys
}

// announce commits a set of token keys and returns when the database knows that the stream has it.
func (r *replica) announce(keys events.KeysChanged) {
	r.Helper()
	id := r.say(keys, "keys")
	r.await("mark", func() bool {
		states, err := r.db.EventStates(r.Context(), []string{id})
		return err == nil && len(states) == 1 && states[0].Published
	})
}

func copyDatabase(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, beside := range []string{"-wal", "-shm"} { // a database that was closed has none
		if _, err := os.Stat(to + beside); err == nil {
			t.Fatalf("%s is still in use", to)
		}
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whether the keys of the backup may go on must not hang on the clock, nor on an import that didn't get through: it has announced
// what the backup holds again, in an epoch above that of the emergency.
func TestAnEmergencyAfterTheBackupIsToldAfterEveryRestore(t *testing.T) {
	s := newRestores(t)
	ours, emergency := events.KeysChanged{Hash: events.Hash{1}}, events.KeysChanged{Hash: events.Hash{2}}
	s.during(t, "before the backup", nil, func(r *replica) { r.announce(ours) })
	copyDatabase(t, s.file, s.backup)
	s.clock.Advance(-10 * time.Minute)
	s.during(t, "the emergency", nil, func(r *replica) { r.announce(emergency) })
	for _, name := range []string{"restored", "restored again"} {
		if keys := s.restored(t, name, errors.New("the program ends before")); !slices.Contains(keys, emergency.Hash) {
			t.Errorf("%s, the token keys announced since the backup: %x", name, keys)
		}
	}
}

func TestTokenKeysThatTheBackupHoldsAreNotToldAsNews(t *testing.T) {
	s := newRestores(t)
	s.during(t, "before the backup", nil, func(r *replica) { r.announce(events.KeysChanged{Hash: events.Hash{1}}) })
	copyDatabase(t, s.file, s.backup)
	s.clock.Advance(10 * time.Minute)
	s.during(t, "lost", nil, func(r *replica) { r.receipt(feed.WaitPublished, within, r.revoke()) })
	if keys := s.restored(t, "restored", nil); len(keys) > 0 {
		t.Errorf("%x", keys)
	}
}
