package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// postgresConns bounds this process's share of the server's connections; the dispatcher has one of its own.
const postgresConns = 20

// Numbers of advisory locks; they mean something to this program only.
const (
	authorityLock = 0x746f6373_01
	migrationLock = 0x746f6373_02
	manyLock      = 0x746f6373_03
	tokenLock     = 0x746f6373 // with the hash of a jti
)

// settings returns the statement that every connection begins with. A process that is frozen in the middle of a
// transaction must not hold its locks for long; a server whose default is not to wait for its own disk is told to. Updates
// run READ COMMITTED whatever the server's default is: numbering rests on each statement having a snapshot of its own.
func settings(idle, statement, silence time.Duration) string {
	return fmt.Sprintf(`SELECT set_config('idle_in_transaction_session_timeout', '%d', false),
		set_config('statement_timeout', '%d', false), set_config('tcp_user_timeout', '%d', false),
		set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false),
		set_config('default_transaction_isolation', 'read committed', false)`,
		idle.Milliseconds(), statement.Milliseconds(), silence.Milliseconds())
}

// askerConns is how many statements of questions run at once.
const askerConns = 4

// askerSettings keep the one plan of a question: each row by its index, whatever the tables' sizes were when it was made. They
// end the statement of settings, which is a list of calls.
const askerSettings = `, set_config('plan_cache_mode', 'force_generic_plan', false), set_config('enable_seqscan', 'off', false),
	set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false), set_config('jit', 'off', false)`

// postgresAsked is one array for each column, so that any number of rows is one statement.
func postgresAsked(rows []askedRow) (source string, args []any) {
	places, hashes := make([]int32, len(rows)), make([][]byte, len(rows))
	var texts [5][]string
	for i := range texts {
		texts[i] = make([]string, len(rows))
	}
	for i := range rows {
		r := &rows[i]
		places[i] = int32(i)
		texts[0][i], texts[1][i], texts[2][i], texts[3][i], texts[4][i] = r.kid, r.JTI, r.SessionID, r.Subject, r.KeyID
		if r.KeyHash != nil {
			hashes[i] = r.KeyHash[:]
		}
	}
	return `SELECT * FROM unnest(CAST($2 AS INTEGER[]), CAST($3 AS TEXT[]), CAST($4 AS TEXT[]), CAST($5 AS TEXT[]), CAST($6 AS TEXT[]),
		CAST($7 AS TEXT[]), CAST($8 AS BYTEA[]))`, []any{places, texts[0], texts[1], texts[2], texts[3], texts[4], hashes}
}

func openPostgres(db *DB, url string) error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrURL, err)
	}
	config.OnNotice = noteWarning
	// A standby may lag behind a revocation, and a demoted primary may not know it: both are refused on connecting.
	config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = max(5*time.Second, db.patience)
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "authsvc"
	}
	db.dialect = dialect{
		engine:    Postgres,
		forUpdate: " FOR UPDATE",

		forUpdateFree: " FOR UPDATE SKIP LOCKED",
		// Whoever waits for a row that is changed meanwhile gets the new one, and the join is made again with it (READ COMMITTED).
		forUpdateFamily: " FOR UPDATE OF users, sessions, refresh_tokens",
		// An advisory lock is granted in the order of asking, so that a steady stream of logins can't starve the
		// revocation of everything, as shared row locks would let it.
		shareAuthority: fmt.Sprintf("SELECT pg_advisory_xact_lock_shared(%d)", authorityLock),
		lockAuthority:  fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", authorityLock),
		shareMany:      fmt.Sprintf("SELECT pg_advisory_xact_lock_shared(%d)", manyLock),
		lockMany:       fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", manyLock),
		lockToken:      fmt.Sprintf("SELECT pg_advisory_xact_lock(%d, hashtext($1))", tokenLock),
		settle:         "SELECT pg_logical_emit_message(true, 'tocsin', '')",
		clock:          "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
		asked:          postgresAsked,
		table:          postgresTable,
		forUpdateOf:    func(table string) string { return " FOR UPDATE OF " + table },
		viewIsolation:  sql.LevelRepeatableRead,
		kind:           postgresKind,
	}
	shared := new(primary)
	short, long := max(time.Second, db.patience), max(10*time.Second, db.patience)
	idle, statement := max(5*time.Second, db.patience), max(30*time.Second, db.patience)
	db.writer = postgresPool(config, shared, settings(idle, statement, long), long, postgresConns)
	db.reader = db.writer
	db.asker = postgresPool(config, shared, settings(short, short, short)+askerSettings, short, askerConns)
	db.pen = postgresPool(config, shared, settings(short, short, short), short, 1)
	db.migrator = func() *sql.DB { // no limit to a statement: an index of a large table takes its time
		return postgresPool(config, shared, settings(idle, 0, long), long, 2)
	}
	return nil
}

// postgresPool makes a pool whose connections are given up when the server's machine doesn't answer for the silence.
func postgresPool(config *pgx.ConnConfig, shared *primary, settings string, silence time.Duration, conns int) *sql.DB {
	dialer := &net.Dialer{Timeout: config.ConnectTimeout, Control: giveUpAfter(silence),
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence, Interval: silence, Count: 1}}
	config = config.Copy()
	config.DialFunc = dialer.DialContext
	pool := sql.OpenDB(newHosts(config, shared, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, settings)
		return err
	}))
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	return pool
}

// SQLSTATE codes (PostgreSQL documentation, appendix A).
const (
	uniqueViolation      = "23505"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	readOnlyTransaction  = "25006"
	idleInTransaction    = "25P03"
	adminShutdown        = "57P01"
	crashShutdown        = "57P02"
	featureNotSupported  = "0A000"
)

func postgresKind(err error) error {
	kind := postgresErrorKind(err)
	if kind == errLost && errors.Is(err, errNotBegun) {
		return errAborted
	}
	return kind
}

func postgresErrorKind(err error) error {
	var connecting *pgconn.ConnectError
	var e *pgconn.PgError
	var network net.Error
	switch {
	case errors.As(err, &connecting):
		return ErrUnavailable
	case errors.As(err, &e):
		return sqlstateKind(e)
	case errors.As(err, &network), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), pgconn.SafeToRetry(err):
		return errLost
	case errors.Is(err, errUnsure):
		return ErrUnavailable
	}
	return nil
}

func sqlstateKind(e *pgconn.PgError) error {
	switch e.Code {
	case uniqueViolation:
		return ErrConflict
	case serializationFailure, deadlockDetected:
		return errAborted
	case readOnlyTransaction:
		return ErrUnavailable
	case idleInTransaction, adminShutdown, crashShutdown:
		return errLost
	case featureNotSupported:
		// Another replica migrated the schema under a prepared statement, which is prepared anew on the next try.
		if strings.Contains(e.Message, "cached plan") {
			return errAborted
		}
		return nil
	}
	switch e.Code[:2] {
	case "08", "53", "57", "58": // connection, resources, operator intervention, system error
		return ErrUnavailable
	}
	return nil
}
