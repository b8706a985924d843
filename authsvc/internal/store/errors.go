package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

var (
	// ErrNotFound means that no row has the id, name or hash. It says nothing about revocation.
	ErrNotFound = errors.New("not found")
	// ErrConflict means that a unique value is taken.
	ErrConflict = errors.New("already exists")
	// ErrUnavailable means that the database can't be used now. After a commit, whether it happened is unknown.
	ErrUnavailable = errors.New("database unavailable")
	// ErrNewer means that a newer release marked the database as one that this program can't live with.
	ErrNewer = errors.New("database needs a newer program")
	// ErrURL means that a database URL can't be understood.
	ErrURL = errors.New("bad database URL")
	// ErrReadOnly means that a view tried to write or to make an id.
	ErrReadOnly = errors.New("read-only transaction")
)

var (
	// errAborted marks a transaction that the database aborted for the sake of others; it is run again.
	errAborted = errors.New("transaction aborted")
	// errLost marks what was cut off on a connection that had been good; what only reads is run again, on another one.
	errLost = fmt.Errorf("%w: connection lost", ErrUnavailable)
)

// classify turns a driver's error into one of this package's, and passes on what it doesn't know.
func (db *DB) classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	if kind := db.dialect.kind(err); kind != nil {
		return fmt.Errorf("%w: %w", kind, err)
	}
	return fmt.Errorf("database: %w", err)
}
