package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"
)

// Tx is a running transaction. It MUST NOT be used by two goroutines at once, nor after its function returned.
//
// After any error but [ErrNotFound] the transaction can only be rolled back, on both engines: further statements, and
// the commit, return that first error.
type Tx struct {
	ctx      context.Context // of Update or View: Now has none of its own
	db       *DB
	tx       *sql.Tx
	readOnly bool
	// riding: it shares its transaction with others, which the end of a context must not interrupt.
	riding bool
	failed error
	now    int64
	// stamp is the last id's time, see newID.
	stamp uint64
	// watermark is the time in milliseconds below which ids are dead; known once authority was locked.
	watermark int64
	locked    bool // authority
	// keySet is authority.key_set_version, once it was read; ownKeySet: this transaction raised it.
	keySet    *int64
	ownKeySet bool
	late      lateEvents
}

// Now returns the database's time in UTC microseconds, read once per transaction, when it is first asked for, or with
// authority before that. After an error it returns 0, and the transaction can't be committed.
func (tx *Tx) Now() int64 {
	if tx.now != 0 || tx.failed != nil {
		return tx.now
	}
	if tx.db.dialect.clock == "" {
		tx.now = time.Now().UnixMicro() + tx.db.offset().Microseconds()
		return tx.now
	}
	var now int64
	if err := tx.queryRow(tx.ctx, "SELECT "+tx.db.clock()).Scan(&now); err != nil {
		return 0
	}
	tx.now = now
	return now
}

// Settle makes the commit vouch for what the transaction has read. On PostgreSQL a commit is visible before its synchronous
// standby has it when whoever waited for that gave up, or the primary was restarted; and a commit that wrote nothing waits for
// nobody. After Settle it writes, behind everything that it has seen, and waits until the standby has that.
func (tx *Tx) Settle(ctx context.Context) error {
	if tx.db.dialect.settle == "" {
		return nil
	}
	return tx.later(ctx, tx.db.dialect.settle)
}

// clock returns an SQL expression for the database's time, to be read by a statement that does more.
func (db *DB) clock() string {
	offset := db.offset().Microseconds()
	if db.dialect.clock == "" {
		return strconv.FormatInt(time.Now().UnixMicro()+offset, 10)
	}
	if offset == 0 {
		return db.dialect.clock
	}
	return "(" + db.dialect.clock + " + " + strconv.FormatInt(offset, 10) + ")"
}

// statement returns the context of one more statement, or why there can't be one.
func (tx *Tx) statement(ctx context.Context) (context.Context, error) {
	if tx.riding && tx.failed == nil {
		tx.failed = ctx.Err()
		ctx = context.WithoutCancel(ctx)
	}
	return ctx, tx.failed
}

// exec runs a statement and returns how many rows it changed.
func (tx *Tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	ctx, err := tx.statement(ctx)
	if err != nil {
		return 0, err
	}
	result, err := tx.tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, tx.fail(err)
	}
	return result.RowsAffected()
}

// later is exec for a statement that needn't have run before the next one whose result is wanted, or the commit: there its
// error shows, if it has one.
func (tx *Tx) later(ctx context.Context, query string, args ...any) error {
	ctx, err := tx.statement(ctx)
	if err == nil {
		_, err = tx.tx.ExecContext(later(ctx), query, args...)
		err = tx.fail(err)
	}
	return err
}

// execOne is exec for a statement that must change one row; without one it returns [ErrNotFound].
func (tx *Tx) execOne(ctx context.Context, query string, args ...any) error {
	n, err := tx.exec(ctx, query, args...)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

func (tx *Tx) queryRow(ctx context.Context, query string, args ...any) row {
	ctx, err := tx.statement(ctx)
	if err != nil {
		return row{tx: tx}
	}
	return row{tx: tx, row: tx.tx.QueryRowContext(ctx, query, args...)}
}

// row is a result of at most one row.
type row struct {
	tx  *Tx
	row *sql.Row
}

// Scan reads the row. Without one it returns [ErrNotFound].
func (r row) Scan(into ...any) error {
	if r.row == nil {
		return r.tx.failed
	}
	return r.tx.fail(r.row.Scan(into...))
}

// fail classifies an error and remembers it unless the transaction can go on.
func (tx *Tx) fail(err error) error {
	err = tx.db.classify(err)
	if err != nil && !errors.Is(err, ErrNotFound) {
		tx.failed = err
	}
	return err
}

// scanner is a row or the current one of many.
type scanner interface{ Scan(into ...any) error }

// queryAll runs a query and reads every row of its result.
func queryAll[T any](ctx context.Context, tx *Tx, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	ctx, err := tx.statement(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := tx.tx.QueryContext(ctx, query, args...)
	all, err := readAll(rows, err, scan)
	return all, tx.fail(err)
}

// readAll reads and closes the result of a query.
func readAll[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) (all []T, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return all, nil
}

// ask is queryAll for one statement by itself, which sees one snapshot, taken after the call began, and costs one round trip.
func ask[T any](ctx context.Context, db *DB, scan func(scanner) (T, error), query string, args ...any) (all []T, err error) {
	err = db.retry(ctx, func() error {
		rows, err := db.reader.QueryContext(ctx, query, args...)
		all, err = readAll(rows, err, scan)
		return db.classify(err)
	})
	return all, err
}

func scanString(s scanner) (v string, err error) {
	err = s.Scan(&v)
	return v, err
}
