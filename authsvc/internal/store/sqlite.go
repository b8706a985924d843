package store

import (
	"database/sql"
	"errors"
	"fmt"
	"math/bits"
	"net/url"
	"os"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteReaders is how many views run at once beside the one writer.
const sqliteReaders = 4

func openSQLite(db *DB, path string) error {
	path = strings.TrimPrefix(path, "//")
	if path == "" || strings.HasPrefix(path, ":") || strings.ContainsRune(path, 0) {
		return fmt.Errorf("%w: sqlite: needs the path of a file", ErrURL)
	}
	if err := createPrivately(path); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	db.dialect = dialect{engine: SQLite, asked: sqliteAsked, kind: sqliteKind}
	writer, err := sql.Open("sqlite", sqliteDSN(path, url.Values{"_txlock": {"immediate"}}))
	if err != nil {
		return err
	}
	writer.SetMaxOpenConns(1)
	reader, err := sql.Open("sqlite", sqliteDSN(path, url.Values{"_pragma": {"query_only(1)"}}))
	if err != nil {
		return errors.Join(err, writer.Close())
	}
	reader.SetMaxOpenConns(sqliteReaders)
	reader.SetMaxIdleConns(sqliteReaders)
	reader.SetConnMaxIdleTime(time.Minute)
	db.writer, db.reader, db.asker, db.pen = writer, reader, reader, writer
	return nil
}

// sqliteAsked is a list of values. It is filled up to a power of two, so that there are few statements to keep.
func sqliteAsked(rows []askedRow) (source string, args []any) {
	const first, columns = 2, 7
	var values strings.Builder
	for i := range 1 << bits.Len(uint(len(rows)-1)) {
		separator := ", "
		if i == 0 {
			separator = "VALUES "
		}
		n := first + i*columns
		fmt.Fprintf(&values, "%s($%d, $%d, $%d, $%d, $%d, $%d, $%d)", separator, n, n+1, n+2, n+3, n+4, n+5, n+6)
		if i >= len(rows) {
			args = append(args, -1, nil, nil, nil, nil, nil, nil)
			continue
		}
		r := &rows[i]
		var hash any
		if r.KeyHash != nil {
			hash = r.KeyHash[:]
		}
		args = append(args, i, r.kid, r.JTI, r.SessionID, r.Subject, r.KeyID, hash)
	}
	return values.String(), args
}

// createPrivately makes the file unless it is there, so that SQLite doesn't make it readable for others. The
// write-ahead log takes its mode from the file.
func createPrivately(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func sqliteDSN(path string, params url.Values) string {
	for _, pragma := range []string{"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"} {
		params.Add("_pragma", pragma)
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + params.Encode()
}

func sqliteKind(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return nil
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return ErrConflict
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return errAborted
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY,
		sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return ErrUnavailable
	}
	return nil
}
