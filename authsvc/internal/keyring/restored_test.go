package keyring_test

import (
	"database/sql"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/keyring"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
)

// backup keeps the keys of a database, to be set back to under everybody who uses it.
func backup(t *testing.T, url string) (restore func()) {
	t.Helper()
	raw, err := sql.Open("sqlite", strings.TrimPrefix(url, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	exec := func(statements string) {
		t.Helper()
		if _, err := raw.ExecContext(t.Context(), statements); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TABLE kept AS SELECT * FROM signing_keys; CREATE TABLE kept_version AS SELECT key_set_version FROM authority`)
	return func() {
		t.Helper()
		exec(`BEGIN; DELETE FROM signing_keys; DELETE FROM retired_kids; INSERT INTO signing_keys SELECT * FROM kept;
			UPDATE authority SET key_set_version = (SELECT key_set_version FROM kept_version); COMMIT`)
	}
}

// A process that runs through a restore remembers keys of a history that was lost. They must not pass for the set of the
// next change.
func TestKeysOfALostHistoryAreForgotten(t *testing.T) {
	url := storetest.URL(t, store.SQLite)
	db := storetest.Open(t, url)
	ring := open(t, db)
	r := &replicas{T: t, db: [2]*store.DB{db}, ring: [2]*keyring.Ring{ring}}
	feed := ring.FeedSigner().KeyID()
	restore := backup(t, url)
	rotate(t, db, ring, true)
	r.mustRotate(0, 0, true)
	if err := ring.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}

	restore()
	if err := ring.Restored(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := ring.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ring.FeedSigner().KeyID(); got != feed {
		t.Errorf("signs with feed key %s, want %s", got, feed)
	}
	kid := rotate(t, db, ring, true)
	if got := kids(t, ring); !slices.Equal(got, []string{kid}) {
		t.Errorf("the set is %v, want %s", got, kid)
	}
	if got := signer(t, db, ring); got != kid {
		t.Errorf("signs with %s, want %s", got, kid)
	}
}
