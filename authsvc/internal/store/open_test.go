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
	driver := "pgx"
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		driver, address = "sqlite", "file:"+path
	}
	db, err := sql.Open(driver, address)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
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
