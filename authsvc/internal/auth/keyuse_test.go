package auth

import (
	"slices"
	"sync"
	"testing"
)

// usedKeys are the keys that the domain told of.
type usedKeys struct {
	mu  sync.Mutex
	ids []string
}

func (u *usedKeys) note(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ids = append(u.ids, id)
}

// take returns the ids since the last time.
func (u *usedKeys) take() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	ids := u.ids
	u.ids = nil
	return ids
}

func TestKeysThatAreAcceptedHereAreNoted(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ada, bob := w.register(t, "ada"), w.register(t, "bob")
		live, test := ada.Keys[0], ada.Keys[1]
		caller := func(key string) Caller {
			c, err := w.AuthenticateKey(t.Context(), key, Client{})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		expect := func(name string, want ...string) {
			t.Helper()
			if got := w.used.take(); !slices.Equal(got, want) {
				t.Errorf("%s: noted %q, want %q", name, got, want)
			}
		}
		adas := caller(live.Key)
		expect("a call", live.ID)
		introspect := func(c Caller, token string, active bool) {
			t.Helper()
			if found, err := w.Introspect(t.Context(), c, token); err != nil || found.Active != active {
				t.Errorf("introspected %v, %v", found.Active, err)
			}
		}
		introspect(adas, test.Key, true)
		expect("an introspected key", test.ID)
		introspect(adas, bob.Keys[0].Key, false)
		expect("another's key, of which nothing is told")
		if _, err := w.AuthenticateKey(t.Context(), live.Key[:len(live.Key)-1]+"x", Client{}); err == nil {
			t.Error("a damaged key")
		}
		expect("a refused key")
	})
}
