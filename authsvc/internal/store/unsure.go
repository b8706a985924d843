package store

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// errUnsure is of a commit that the standby may not have. PostgreSQL answers a commit whose wait for the standby somebody
// cancelled with success and a warning, and it gives no other warning on a commit.
var errUnsure = errors.New("the wait for the synchronous standby was cancelled")

const warnedKey = "tocsin.warned"

// noteWarning is a connection's OnNotice. The severity isn't translated.
func noteWarning(conn *pgconn.PgConn, n *pgconn.Notice) {
	if n.SeverityUnlocalized == "WARNING" {
		conn.CustomData()[warnedKey] = true
	}
}
