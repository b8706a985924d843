package auth

import (
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Keys of a backup go on only while nothing that was announced since tells of another set, whatever was announced beside it.
func TestTheKeysOfABackupGoOnOnlyIfNoOtherSetWasAnnouncedSince(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		other := events.KeySetHash([]string{"a key of the emergency"})
		for name, c := range map[string]struct {
			announced func(ours events.Hash) []events.Hash
			dropped   bool
		}{
			"nothing":       {func(events.Hash) []events.Hash { return nil }, false},
			"ours":          {func(ours events.Hash) []events.Hash { return []events.Hash{ours, ours} }, false},
			"another":       {func(events.Hash) []events.Hash { return []events.Hash{other} }, true},
			"another, ours": {func(ours events.Hash) []events.Hash { return []events.Hash{other, ours} }, true},
			"ours, another": {func(ours events.Hash) []events.Hash { return []events.Hash{ours, other} }, true},
		} {
			kid := w.ring.keys[0].KID // the only one: each emergency drops all others
			if err := w.AdoptKeySet(t.Context(), c.announced(events.KeySetHash([]string{kid}))); err != nil {
				t.Fatal(err)
			}
			if _, kept := w.ring.KnownTokenKey(kid); kept == c.dropped {
				t.Errorf("%s: the backup's key is in the set: %v", name, kept)
			}
		}
	})
}
