package main

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	_ "modernc.org/sqlite"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/seal"
)

var (
	errNotFound = errors.New("not found")
	errSold     = errors.New("sold")
)

//go:embed migrations/*.sql
var migrations embed.FS

// store is the service's own database. It never sees that of authsvc. Safe for concurrent use.
type store struct {
	db   *sql.DB
	now  func() time.Time
	keys seal.Keys // of grants; none without [store.useKeys]
}

// openStore opens `sqlite:<path>` or `postgres://…` and brings its schema up to date.
func openStore(ctx context.Context, databaseURL string) (*store, error) {
	db, dialect, err := openDB(databaseURL)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, db, dialect); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &store{db: db, now: time.Now}, nil
}

func openDB(databaseURL string) (*sql.DB, goose.Dialect, error) {
	scheme, path, _ := strings.Cut(databaseURL, ":")
	switch scheme {
	case "sqlite":
		db, err := openSQLite(path)
		return db, goose.DialectSQLite3, err
	case "postgres", "postgresql":
		db, err := sql.Open("pgx", databaseURL)
		return db, goose.DialectPostgres, err
	default:
		return nil, "", errors.New("the database URL must begin with sqlite: or postgres://")
	}
}

// openSQLite makes every commit durable (synchronous=FULL) and lets writers wait for each other.
func openSQLite(path string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("database path: %w", err)
	}
	pragmas := url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)"},
		"_txlock": {"immediate"},
	}
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: abs, RawQuery: pragmas.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	return db, nil
}

func migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	opts := []goose.ProviderOption{goose.WithLogger(goose.NopLogger())}
	if dialect == goose.DialectPostgres { // replicas that start together take turns
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60)) // tries each second, for a minute
		if err != nil {
			return err
		}
		opts = append(opts, goose.WithSessionLocker(locker))
	}
	provider, err := goose.NewProvider(dialect, db, files, opts...)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	for range migrationTries {
		if _, err = provider.Up(ctx); err == nil {
			return nil
		}
	}
	return fmt.Errorf("migrate the database: %w", err)
}

// migrationTries: on SQLite nothing but failing tells that another process has just done the same migration.
const migrationTries = 4

func (s *store) close() error { return s.db.Close() }

// ready tells whether the database answers.
func (s *store) ready(ctx context.Context) error { return s.db.PingContext(ctx) }

// inDB translates the one error of database/sql that means something to callers.
func inDB(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return errNotFound
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }
