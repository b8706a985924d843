package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgresConn saves round trips, which cost more than what is done in them: what nobody waits for is sent together with
// the next statement whose result somebody wants. BEGIN and a lock go with the first query, the last writes with COMMIT.
//
// The server runs the statements of one sending in their order, in READ COMMITTED each with a snapshot of its own, which
// is taken when those before it are through; a lock that was waited for is held then. After one that fails it runs none of
// the rest, the COMMIT neither.
type postgresConn struct {
	*stdlib.Conn
	// waiting are statements that aren't sent yet, begun is whether BEGIN has been.
	waiting []statement
	begun   bool
}

type statement struct {
	query string
	args  []any
}

type laterKey struct{}

// later marks a statement's context: its result isn't wanted.
func later(ctx context.Context) context.Context { return context.WithValue(ctx, laterKey{}, true) }

// errNotBegun is of a transaction that failed in its first sending, which held no COMMIT: if its connection was lost, nothing
// has happened.
var errNotBegun = errors.New("in a transaction's first statement")

// BeginTx implements driver.ConnBeginTx. It sends nothing.
func (c *postgresConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if c.Conn.Conn().IsClosed() {
		return nil, driver.ErrBadConn
	}
	begin := "begin"
	switch sql.IsolationLevel(opts.Isolation) {
	case sql.LevelDefault:
	case sql.LevelRepeatableRead:
		begin += " isolation level repeatable read"
	default:
		return nil, fmt.Errorf("isolation %v isn't supported", opts.Isolation)
	}
	if opts.ReadOnly {
		begin += " read only"
	}
	c.begun, c.waiting = false, append(c.waiting[:0], statement{query: begin})
	return &postgresTx{ctx: ctx, conn: c}, nil
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *postgresConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.flush(ctx); err != nil {
		return nil, err
	}
	return c.Conn.PrepareContext(ctx, query)
}

// ExecContext implements driver.ExecerContext.
func (c *postgresConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if ctx.Value(laterKey{}) != nil {
		c.waiting = append(c.waiting, statement{query, values(args)})
		return driver.ResultNoRows, nil
	}
	if len(args) == 0 { // it may be several, which only the simple protocol takes
		if err := c.flush(ctx); err != nil {
			return nil, err
		}
	}
	if len(c.waiting) == 0 {
		return c.Conn.ExecContext(ctx, query, args)
	}
	tag, err := c.exec(ctx, statement{query, values(args)})
	if err = c.lost(err); err != nil {
		return nil, err
	}
	return driver.RowsAffected(tag.RowsAffected()), nil
}

// QueryContext implements driver.QueryerContext.
func (c *postgresConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if len(c.waiting) == 0 {
		return c.Conn.QueryContext(ctx, query, args)
	}
	rows, err := c.query(ctx, statement{query, values(args)})
	if err = c.lost(err); err != nil {
		return nil, err
	}
	return rows, nil
}

func (c *postgresConn) query(ctx context.Context, s statement) (*batchRows, error) {
	results, err := c.send(ctx, s)
	if err != nil {
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, errors.Join(err, results.Close())
	}
	more := rows.Next() // the columns are known then
	if err := rows.Err(); err != nil {
		rows.Close()
		results.Close()
		return nil, err
	}
	return &batchRows{rows: rows, results: results, first: true, more: more}, nil
}

func values(args []driver.NamedValue) []any {
	all := make([]any, len(args))
	for i, arg := range args {
		all[i] = arg.Value
	}
	return all
}

// flush sends what waits.
func (c *postgresConn) flush(ctx context.Context) error {
	if len(c.waiting) == 0 {
		return nil
	}
	last := c.waiting[len(c.waiting)-1]
	c.waiting = c.waiting[:len(c.waiting)-1]
	_, err := c.exec(ctx, last)
	return c.lost(err)
}

// exec sends what waits and then s.
func (c *postgresConn) exec(ctx context.Context, s statement) (pgconn.CommandTag, error) {
	results, err := c.send(ctx, s)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	tag, err := results.Exec()
	if ended := results.Close(); err == nil {
		err = ended
	}
	return tag, err
}

// send sends what waits and then last, whose result is the next to be read.
func (c *postgresConn) send(ctx context.Context, last statement) (pgx.BatchResults, error) {
	var batch pgx.Batch
	for _, s := range append(c.waiting, last) {
		batch.Queue(s.query, s.args...)
	}
	before := len(c.waiting)
	clear(c.waiting) // their values may be large
	c.waiting = c.waiting[:0]
	results := c.Conn.Conn().SendBatch(ctx, &batch)
	for range before {
		if _, err := results.Exec(); err != nil {
			results.Close()
			return nil, err
		}
	}
	return results, nil
}

// lost marks the error of a first sending. The transaction may have begun all the same.
func (c *postgresConn) lost(err error) error {
	first := !c.begun
	c.begun = true
	if err != nil && first {
		return fmt.Errorf("%w: %w", errNotBegun, err)
	}
	return err
}

// postgresTx is a transaction. Like the driver's own it lives with its context.
type postgresTx struct {
	ctx  context.Context
	conn *postgresConn
}

// Commit implements driver.Tx.
func (tx *postgresTx) Commit() error {
	c := tx.conn
	if !c.begun && len(c.waiting) == 1 { // BEGIN: nothing was done
		c.waiting = c.waiting[:0]
		return nil
	}
	pg := c.Conn.Conn().PgConn()
	delete(pg.CustomData(), warnedKey)
	tag, err := c.exec(tx.ctx, statement{query: "commit"})
	c.begun = true
	_, warned := pg.CustomData()[warnedKey]
	switch {
	case err != nil:
		if pg.TxStatus() != idle {
			err = errors.Join(err, tx.Rollback())
		}
		return err
	case tag.String() != "COMMIT":
		return pgx.ErrTxCommitRollback
	case warned:
		return errUnsure
	}
	return nil
}

// idle is the status of a connection without a transaction.
const idle = 'I'

// Rollback implements driver.Tx. A connection on which it fails is closed, and with it the transaction.
func (tx *postgresTx) Rollback() error {
	c := tx.conn
	c.waiting = c.waiting[:0]
	if !c.begun {
		return nil
	}
	conn := c.Conn.Conn()
	_, err := conn.Exec(tx.ctx, "rollback")
	if err != nil {
		conn.Close(tx.ctx)
	}
	return err
}

// batchRows are the rows of the last statement of a sending.
type batchRows struct {
	rows        pgx.Rows
	results     pgx.BatchResults
	first, more bool // the first row was read already, and whether there was one
}

// Columns implements driver.Rows.
func (r *batchRows) Columns() []string {
	fields := r.rows.FieldDescriptions()
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return names
}

// Close implements driver.Rows.
func (r *batchRows) Close() error {
	r.rows.Close()
	return r.results.Close()
}

// Next implements driver.Rows.
func (r *batchRows) Next(into []driver.Value) error {
	if !r.first {
		r.more = r.rows.Next()
	}
	r.first = false
	if !r.more {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	found, err := r.rows.Values()
	if err != nil {
		return err
	}
	for i, v := range found {
		if into[i], err = driver.DefaultParameterConverter.ConvertValue(v); err != nil {
			return err
		}
	}
	return nil
}
