package store

import (
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
	db.dialect = dialect{engine: SQLite, asked: sqliteAsked, table: sqliteTable, forUpdateOf: func(string) string { return "" }, kind: sqliteKind}
	writer := sql.OpenDB(compiling{sqliteDSN(path, url.Values{"_txlock": {"immediate"}})})
	writer.SetMaxOpenConns(1)
	reader := sql.OpenDB(compiling{sqliteDSN(path, url.Values{"_pragma": {"query_only(1)"}})})
	reader.SetMaxOpenConns(sqliteReaders)
	reader.SetMaxIdleConns(sqliteReaders)
	reader.SetConnMaxIdleTime(time.Minute)
	db.writer, db.reader, db.asker, db.pen = writer, reader, reader, writer
	return nil
}

// sqliteAsked is one JSON text, so that any number of rows is one statement. The driver looks for each parameter among all.
func sqliteAsked(rows []askedRow) (source string, args []any) {
	text := []byte("[")
	for i := range rows {
		r := &rows[i]
		hash := "null"
		if r.KeyHash != nil {
			hash = `"` + hex.EncodeToString(r.KeyHash[:]) + `"`
		}
		text = fmt.Appendf(text, `[%d,%s,%q,%q,%q,%q,%s],`, i, jsonText(r.kid), r.JTI, r.SessionID, r.Subject, r.KeyID, hash)
	}
	text[len(text)-1] = ']'
	return `SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]'),
		json_extract(value, '$[4]'), json_extract(value, '$[5]'), unhex(json_extract(value, '$[6]')) FROM json_each($2)`, []any{string(text)}
}

// jsonText quotes what may be anything, unlike an id.
func jsonText(s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings have JSON
	}
	return text
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
