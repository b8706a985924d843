package store

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// errUnsure is of a commit that the standby may not have.
var errUnsure = errors.New("the wait for the synchronous standby was cancelled")

// committing is a connection whose commits fail, with an unknown outcome, when the server warns. PostgreSQL answers a commit
// whose wait for the standby somebody cancelled with success and a warning, and it gives no other warning on a commit.
type committing struct{ *stdlib.Conn }

// BeginTx implements driver.ConnBeginTx.
func (c committing) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	tx, err := c.Conn.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return transaction{tx, c.Conn.Conn().PgConn()}, nil
}

type transaction struct {
	driver.Tx
	conn *pgconn.PgConn
}

func (tx transaction) Commit() error {
	delete(tx.conn.CustomData(), warnedKey)
	err := tx.Tx.Commit()
	if _, warned := tx.conn.CustomData()[warnedKey]; err == nil && warned {
		return errUnsure
	}
	return err
}

const warnedKey = "tocsin.warned"

// noteWarning is a connection's OnNotice. The severity isn't translated.
func noteWarning(conn *pgconn.PgConn, n *pgconn.Notice) {
	if n.SeverityUnlocalized == "WARNING" {
		conn.CustomData()[warnedKey] = true
	}
}
