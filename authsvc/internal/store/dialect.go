package store

import (
	"database/sql"
)

// dialect is all that differs between the engines once a database is open.
type dialect struct {
	engine Engine
	// forUpdate ends a SELECT that locks its rows; empty for SQLite, which has one writer.
	forUpdate string
	// forUpdateFree is forUpdate for a SELECT that leaves out the rows that others have locked, and so waits for nobody.
	forUpdateFree string
	// forUpdateFamily is forUpdate for the rows of [Tx.LockFamily], in the order of its words.
	forUpdateFamily string
	// shareAuthority and lockAuthority are statements that take the lock which issuers share and revocations of
	// everything hold alone; empty for SQLite.
	shareAuthority, lockAuthority string
	// shareMany and lockMany are statements that take the lock which those share who lock many users in ascending order, and
	// who locks them in another order holds alone; empty for SQLite.
	shareMany, lockMany string
	// lockToken takes the lock of an access token, named by its only parameter; empty for SQLite.
	lockToken string
	// settle makes the commit of a transaction that changed nothing wait like one that did; empty for SQLite, where nothing
	// is visible that isn't on the disk.
	settle string
	// clock is an expression for the database's time in microseconds; empty where the process's clock is the database's.
	clock string
	// asked makes a table expression of what is asked for, with the columns that [shape.query] names, and its parameters from $2.
	asked func(rows []askedRow) (source string, args []any)
	// table makes a table expression of rows, asked, with the columns c1, c2, …, and its parameters from $first.
	table func(first int, columns []column) (source string, args []any)
	// forUpdateOf is forUpdate for the rows of one table of many.
	forUpdateOf func(table string) string
	// viewIsolation makes a read-only transaction see one snapshot.
	viewIsolation sql.IsolationLevel
	// kind returns the sentinel that a driver's error stands for, or nil.
	kind func(error) error
}
