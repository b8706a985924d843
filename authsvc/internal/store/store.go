// Package store keeps authsvc's truth in SQL: SQLite for one process, PostgreSQL 15 or later for many, behind the same
// statements. What differs between the two stands in dialect.go, in the files named after them, and in ride.go, which is
// SQLite's.
//
// Everything happens in transactions: [DB.Update] and [DB.UpdateBriefly] for changes, [DB.View] for reads, [DB.Issue] for transactions that
// create credentials. A state change and the event that announces it MUST be written by the same transaction
// ([Tx.InsertEvent]); nothing is ever published from inside one.
//
// # Locks
//
// PostgreSQL runs updates READ COMMITTED, so a decision may rest only on rows that the transaction has locked. Methods
// named Lock… and Share… lock; their plain siblings don't. SQLite has one writer at a time and the same methods
// cost nothing there. To keep deadlocks rare, lock in this order: authority, admins ([Tx.LockAdmins]), users by
// ascending id, sessions, refresh tokens, API keys, quotas. Deadlocks that happen all the same are retried by Update.
//
// # Time and ids
//
// Times are UTC microseconds of the database's clock: [Tx.Now]. Ids are UUIDv7 text made by [Tx.NewID].
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Engine names the database system.
type Engine string

// The engines.
const (
	SQLite   Engine = "sqlite"
	Postgres Engine = "postgres"
)

// DB is an open database. It is safe for concurrent use.
type DB struct {
	dialect dialect
	// writer runs updates. On SQLite it is one connection whose transactions begin IMMEDIATE.
	writer *sql.DB
	// reader runs views. On PostgreSQL it is the writer.
	reader *sql.DB
	// asker answers the questions of elite.go. On SQLite it is the reader.
	asker *sql.DB
	// pen runs the dispatcher's numbering, with time-outs so short that a frozen holder can't block a takeover.
	// On SQLite it is the writer.
	pen *sql.DB
	// migrator makes a pool for migrations, to be closed after them. Nil on SQLite, where the writer migrates.
	migrator func() *sql.DB
	log      *slog.Logger
	offset   func() time.Duration
	patience time.Duration
	// queue is who waits for the writer of SQLite.
	queue queue
	// lanes are who waits for the same row of PostgreSQL.
	lanes lanes
}

// Option changes how a database is opened.
type Option func(*DB)

// WithClockOffset shifts the database's clock for this DB by what offset returns, so that tests can let time pass.
// The default is no shift.
func WithClockOffset(offset func() time.Duration) Option {
	return func(db *DB) { db.offset = offset }
}

// WithPatience makes the limits on what PostgreSQL may keep waiting no shorter than patience, for tests whose machine stands still
// at times. The default is that they are as short as takeovers and elite questions need them.
func WithPatience(patience time.Duration) Option { return func(db *DB) { db.patience = patience } }

// Open connects to the database that url names: sqlite:<path> or postgres://…. It doesn't change the schema: call
// [DB.Migrate] next. The errors are [ErrUnavailable] when the database can't be reached, [ErrURL] for a bad url.
func Open(ctx context.Context, url string, log *slog.Logger, opts ...Option) (*DB, error) {
	db := &DB{log: log, offset: func() time.Duration { return 0 }}
	for _, opt := range opts {
		opt(db)
	}
	var err error
	switch {
	case strings.HasPrefix(url, "sqlite:"):
		err = openSQLite(db, strings.TrimPrefix(url, "sqlite:"))
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		err = openPostgres(db, url)
	default:
		err = fmt.Errorf("%w: it must begin with sqlite: or postgres://", ErrURL)
	}
	if err != nil {
		return nil, err
	}
	// Of several that open a new SQLite file, one turns write-ahead logging on; the others are refused without a wait.
	if err := retry(ctx, func() error { return db.Ping(ctx) }, errAborted); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Engine returns which database system this is.
func (db *DB) Engine() Engine { return db.dialect.engine }

// Ping proves that the database can be written to by this program right now, as far as that can be known without writing.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	return db.classify(db.writer.QueryRowContext(ctx, "SELECT 1").Scan(&one))
}

// Close closes all connections. Transactions MUST have ended.
func (db *DB) Close() error {
	err := db.writer.Close()
	if db.reader != db.writer {
		err = errors.Join(err, db.reader.Close())
	}
	if db.asker != db.reader {
		err = errors.Join(err, db.asker.Close())
	}
	if db.pen != db.writer {
		err = errors.Join(err, db.pen.Close())
	}
	return err
}

// maxAttempts bounds how often a transaction is tried that others keep aborting.
const maxAttempts = 10

// Update runs fn in a read-write transaction and commits it when fn returns nil. Where the database aborted the
// transaction for the sake of others (deadlock, serialization), fn runs again: it MUST have no effect but through tx.
//
// The error is fn's own, or one of this package's. [ErrUnavailable] from a commit means that its outcome is unknown.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	return db.update(ctx, db.writer, fn)
}

// UpdateBriefly is Update for a transaction of one user's call, that reads and writes a few rows: on SQLite those that come
// at the same time share a commit. What fn sees of others is committed when UpdateBriefly returns, even with an error of fn's.
func (db *DB) UpdateBriefly(ctx context.Context, fn func(tx *Tx) error) error {
	if db.dialect.engine != SQLite {
		return db.Update(ctx, fn)
	}
	return retry(ctx, func() error { return db.share(ctx, fn) }, errAborted)
}

// View runs fn in a read-only transaction that sees one snapshot of the primary, no older than the call.
func (db *DB) View(ctx context.Context, fn func(tx *Tx) error) error {
	return db.retry(ctx, func() error {
		return db.run(ctx, db.reader, &sql.TxOptions{Isolation: db.dialect.viewIsolation, ReadOnly: true}, fn)
	})
}

// updateWithPen is Update on the connection that is kept for the dispatcher.
func (db *DB) updateWithPen(ctx context.Context, fn func(tx *Tx) error) error {
	return db.update(ctx, db.pen, fn)
}

func (db *DB) update(ctx context.Context, pool *sql.DB, fn func(tx *Tx) error) error {
	return retry(ctx, func() error { return db.run(ctx, pool, nil, fn) }, errAborted)
}

func (db *DB) run(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, fn func(tx *Tx) error) error {
	begun, err := pool.BeginTx(ctx, opts)
	if err = db.classify(err); errors.Is(err, errLost) { // the pool's connection was dead; nothing has happened yet
		return fmt.Errorf("%w: %w", errAborted, err)
	} else if err != nil {
		return err
	}
	defer begun.Rollback() // after a commit it does nothing
	tx := &Tx{ctx: ctx, db: db, tx: begun, readOnly: opts != nil}
	if err := fn(tx); err != nil {
		return err
	}
	if tx.failed != nil {
		return tx.failed
	}
	err = begun.Commit()
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		err = ctx.Err() // whose end has rolled it back already
	}
	err = db.classify(err)
	tx.late.committed(db, err)
	return err
}

// retry runs what only reads until it isn't aborted for the sake of others, nor its connection lost, any more.
func (db *DB) retry(ctx context.Context, read func() error) error {
	return retry(ctx, read, errAborted, errLost)
}

func retry(ctx context.Context, run func() error, again ...error) error {
	for attempt := 1; ; attempt++ {
		err := run()
		if !slices.ContainsFunc(again, func(reason error) bool { return errors.Is(err, reason) }) {
			return err
		}
		if attempt == maxAttempts {
			return fmt.Errorf("%w: gave up after %d attempts: %w", ErrUnavailable, attempt, err)
		}
		wait := time.NewTimer(time.Duration(rand.Int64N(int64(attempt) * int64(5*time.Millisecond))))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		}
	}
}
