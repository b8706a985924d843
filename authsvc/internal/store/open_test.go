package store_test

import (
	"database/sql"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"golang.org/x/sync/errgroup"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
)

var quiet = slog.New(slog.DiscardHandler)

// direct runs a statement on a database behind the store's back.
func direct(t *testing.T, address, statement string) {
	t.Helper()
	if err := tryDirect(t, address, statement); err != nil {
		t.Fatal(err)
	}
}

func tryDirect(t *testing.T, address, statement string) error {
	t.Helper()
	driver := "pgx"
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		driver, address = "sqlite", "file:"+path
	}
	db, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.ExecContext(t.Context(), statement)
	return err
}

func TestReplicasThatMigrateAtOnceDoNotCollide(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, address string) {
		var group errgroup.Group
		for range 6 {
			group.Go(func() error {
				db, err := store.Open(t.Context(), address, quiet)
				if err != nil {
					return err
				}
				return errors.Join(db.Migrate(t.Context()), db.Close())
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		storetest.AddUser(t, storetest.Open(t, address), "ada")
	})
}

func TestADatabaseOfANewerReleaseIsUsedUnlessItIsMarked(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, address string) {
		db := storetest.Open(t, address)
		direct(t, address, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, TRUE)")
		direct(t, address, "ALTER TABLE users ADD COLUMN novelty TEXT")
		if err := db.Migrate(t.Context()); err != nil {
			t.Fatalf("a newer schema that this program can live with: %v", err)
		}
		storetest.AddUser(t, db, "ada")
		direct(t, address, "UPDATE compatibility SET min_version = 99")
		err := db.Migrate(t.Context())
		if !errors.Is(err, store.ErrNewer) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("%v", err)
		}
	})
}

// The log tells whose a suspension was that is older than held.
func TestKeysSuspendedBeforeTheMigrationAreHeldWhereAnAdminDidIt(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, address string) {
		db := storetest.Open(t, address)
		owner, root := storetest.AddUser(t, db, "ada"), storetest.AddUser(t, db, "root", "admin")
		suspend := func(name string, actors ...string) string {
			key := storetest.AddKey(t, db, owner, name)
			if err := db.Update(t.Context(), func(tx *store.Tx) error {
				for _, actor := range actors {
					entry := store.AuditEntry{Actor: actor, Action: "api_key.suspended", Target: "key:" + key.ID}
					if err := tx.InsertAudit(t.Context(), entry); err != nil {
						return err
					}
				}
				_, err := tx.SetAPIKeySuspended(t.Context(), key.ID, true, false)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return key.ID
		}
		want := map[string]bool{suspend("unlogged"): false, suspend("own", owner.ID): false, suspend("admin", root.ID): true,
			suspend("admin first", root.ID, owner.ID): false, suspend("admin last", owner.ID, root.ID): true}
		resumed := suspend("resumed", root.ID)
		direct(t, address, "UPDATE api_keys SET suspended = FALSE WHERE id = '"+resumed+"'")
		want[resumed] = false

		for _, made := range []string{"api_keys DROP COLUMN held", "feed_state DROP COLUMN import_epoch", "feed_state DROP COLUMN import_seq"} {
			direct(t, address, "ALTER TABLE "+made)
		}
		direct(t, address, "DROP TABLE spent_grants")
		direct(t, address, "DELETE FROM goose_db_version WHERE version_id >= 7")
		if err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id, held := range want {
			var key store.APIKey
			if err := db.View(t.Context(), func(tx *store.Tx) (err error) {
				key, err = tx.APIKey(t.Context(), id)
				return err
			}); err != nil || key.Held != held {
				t.Errorf("%s: held %v, want %v: %v", key.Name, key.Held, held, err)
			}
			older := "UPDATE api_keys SET suspended = FALSE, kv = kv + 1 WHERE id = '" + id + "'"
			if err := tryDirect(t, address, older); (err != nil) != held {
				t.Errorf("%s: a program that knows nothing of held resumes it: %v", key.Name, err)
			}
		}
	})
}

func TestABadURLIsRefusedWithoutItsPassword(t *testing.T) {
	for _, address := range []string{
		"", "mysql://u:hunter2@h/d", "sqlite:", "sqlite::memory:", "sqlite:a\x00b",
		"postgres://u:hunter2@h:port/d", "postgres://u:hunter2@h/d?sslmode=perhaps",
	} {
		_, err := store.Open(t.Context(), address, quiet)
		if !errors.Is(err, store.ErrURL) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestWhatCannotBeUsedIsUnavailable(t *testing.T) {
	folder := t.TempDir()
	garbage := filepath.Join(folder, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{
		"sqlite:" + folder, "sqlite:" + garbage, "sqlite:" + filepath.Join(folder, "missing", "x.db"),
		"postgres://u:hunter2@127.0.0.1:1/d?sslmode=disable", "postgres://u:hunter2@nowhere.invalid/d",
	} {
		_, err := store.Open(t.Context(), address, quiet)
		if !errors.Is(err, store.ErrUnavailable) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestSQLiteFilesArePrivateWhateverTheirName(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "a b?c#d%20é.db")
	storetest.AddUser(t, storetest.Open(t, "sqlite:"+path), "ada")
	files, err := os.ReadDir(folder)
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		info, err := file.Info()
		if err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(file.Name(), filepath.Base(path)) {
			t.Errorf("%s %v, %v", file.Name(), info.Mode(), err)
		}
	}
}

func TestAReadOnlyPostgresIsRefused(t *testing.T) {
	address := storetest.URL(t, store.Postgres)
	storetest.Open(t, address)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	direct(t, address, "ALTER DATABASE "+u.Path[1:]+" SET default_transaction_read_only = on")
	if _, err := store.Open(t.Context(), address, quiet); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("%v", err)
	}
}

func TestALostConnectionIsUnavailableAndReplaced(t *testing.T) {
	address := storetest.URL(t, store.Postgres)
	db := storetest.Open(t, address)
	u := storetest.AddUser(t, db, "ada")
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		if err := tx.SetPassword(t.Context(), u.ID, "lost"); err != nil {
			return err
		}
		direct(t, address, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		return nil
	})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("%v", err)
	}
	err = db.View(t.Context(), func(tx *store.Tx) error {
		got, err := tx.User(t.Context(), u.ID)
		if got.PasswordHash != "hash" {
			t.Error("committed by a lost connection")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
