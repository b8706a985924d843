package store

import (
	"context"
	"database/sql/driver"
	"errors"

	"modernc.org/sqlite"
)

// maxCompiled bounds the statements that a connection keeps: those whose text depends on a length are many.
const maxCompiled = 200

// compiling connects to SQLite. Its connections keep what they compiled: to parse and plan a statement costs as much as to
// run it.
type compiling struct{ dsn string }

// Driver implements driver.Connector.
func (compiling) Driver() driver.Driver { return new(sqlite.Driver) }

// Connect implements driver.Connector.
func (c compiling) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.Driver().Open(c.dsn)
	if err != nil {
		return nil, err
	}
	return &compiled{sqliteConn: conn.(sqliteConn), kept: map[string]sqliteStmt{}}, nil
}

// sqliteConn and sqliteStmt are what the driver's types can do.
type (
	sqliteConn interface {
		driver.Conn
		driver.ConnBeginTx
		driver.ConnPrepareContext
		driver.Pinger
		driver.SessionResetter
		driver.Validator
	}
	sqliteStmt interface {
		driver.Stmt
		driver.StmtExecContext
		driver.StmtQueryContext
	}
)

// compiled is a connection with its statements. SQLite compiles one anew by itself when the schema has changed.
type compiled struct {
	sqliteConn
	kept map[string]sqliteStmt
}

// take returns the statement of a text, which is nobody else's until it is given back.
func (c *compiled) take(ctx context.Context, query string) (sqliteStmt, error) {
	if stmt := c.kept[query]; stmt != nil {
		delete(c.kept, query)
		return stmt, nil
	}
	stmt, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.(sqliteStmt), nil
}

// giveBack keeps a statement that has been reset.
func (c *compiled) giveBack(query string, stmt sqliteStmt) error {
	if c.kept[query] != nil {
		return stmt.Close()
	}
	if len(c.kept) >= maxCompiled {
		if err := c.forget(); err != nil {
			return errors.Join(err, stmt.Close())
		}
	}
	c.kept[query] = stmt
	return nil
}

func (c *compiled) forget() error {
	var all []error
	for query, stmt := range c.kept {
		delete(c.kept, query)
		all = append(all, stmt.Close())
	}
	return errors.Join(all...)
}

// Close implements driver.Conn.
func (c *compiled) Close() error { return errors.Join(c.forget(), c.sqliteConn.Close()) }

// ExecContext implements driver.ExecerContext.
func (c *compiled) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	stmt, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	result, err := stmt.ExecContext(ctx, args)
	return result, errors.Join(err, c.giveBack(query, stmt))
}

// QueryContext implements driver.QueryerContext.
func (c *compiled) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	stmt, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	rows, err := stmt.QueryContext(ctx, args)
	if err != nil {
		return nil, errors.Join(err, c.giveBack(query, stmt))
	}
	return &compiledRows{Rows: rows, end: func() error { return c.giveBack(query, stmt) }}, nil
}

// compiledRows gives the statement back when its rows have been read.
type compiledRows struct {
	driver.Rows
	end func() error
}

// Close implements driver.Rows.
func (r *compiledRows) Close() error {
	if r.end == nil {
		return nil
	}
	err := errors.Join(r.Rows.Close(), r.end())
	r.end = nil
	return err
}
