package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// SchemaVersion is the schema that this program knows. Newer ones are fine unless the database says otherwise.
const SchemaVersion = 9

// Migrate brings the schema up to date. It is safe to run in several processes at once; each returns when it is done.
// A database that a newer release marked as incompatible is left alone: [ErrNewer].
func (db *DB) Migrate(ctx context.Context) error {
	if db.Engine() == SQLite {
		return db.migrateSQLite(ctx)
	}
	return db.migratePostgres(ctx)
}

// migrateSQLite tries again when another process applied the same migration first: each is one transaction, so the
// loser finds the tables there and, looking again, less left to do.
func (db *DB) migrateSQLite(ctx context.Context) error {
	var err error
	for range maxAttempts {
		if err = db.up(ctx, goose.DialectSQLite3, db.writer); err == nil || errors.Is(err, ErrNewer) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (db *DB) migratePostgres(ctx context.Context) error {
	pool := db.migrator()
	defer pool.Close()
	conn, err := pool.Conn(ctx)
	if err != nil {
		return db.classify(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", migrationLock); err != nil {
		return db.classify(err)
	}
	return db.up(ctx, goose.DialectPostgres, pool) // the lock ends with the connection
}

func (db *DB) up(ctx context.Context, dialect goose.Dialect, pool *sql.DB) error {
	if err := db.compatible(ctx); err != nil {
		return err
	}
	dir, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(dialect, pool, dir, goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	applied, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrating the database: %w", db.classify(err))
	}
	for _, m := range applied {
		db.log.InfoContext(ctx, "migrated the database", "version", m.Source.Version)
	}
	return nil
}

// compatible looks whether this program may use the database. A database without tables may be used.
func (db *DB) compatible(ctx context.Context) error {
	exists := "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'compatibility'"
	if db.Engine() == SQLite {
		exists = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'compatibility'"
	}
	var tables int
	if err := db.writer.QueryRowContext(ctx, exists).Scan(&tables); err != nil || tables == 0 {
		return db.classify(err)
	}
	var needed int64
	err := db.writer.QueryRowContext(ctx, "SELECT min_version FROM compatibility WHERE id = 1").Scan(&needed)
	switch {
	case errors.Is(err, sql.ErrNoRows): // its migration is being undone or done by hand; there is no mark
		return nil
	case err != nil:
		return db.classify(err)
	case needed > SchemaVersion:
		return fmt.Errorf("%w: it needs schema version %d or later, this program knows %d", ErrNewer, needed, SchemaVersion)
	}
	return nil
}
