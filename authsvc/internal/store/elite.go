package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// The reads of this file answer questions that must see every change whose call returned before the question was
// asked. Each is one statement outside of a transaction, so that it sees one snapshot, taken after the call began, and
// costs one round trip. On PostgreSQL it runs on the primary, like everything else; on SQLite a reader sees whatever was
// committed when its statement began.

// Credential names a token, or one that it was derived from, by its claims. Empty fields name nothing.
type Credential struct {
	JTI       string
	SessionID string
	Subject   string
	KeyID     string
	TV        int64 // of the user when the token was issued
}

// CredentialState is what the database knows of a [Credential]. What the credential doesn't name, or doesn't exist, has an
// empty id. Only what decides about life and authorization is filled.
type CredentialState struct {
	Credential
	JTIRevoked bool
	User       User
	Session    Session
	Key        APIKey
	KeyUser    User // whose key it is
}

// TokenState is what the database knows of a token and its parents at one moment.
type TokenState struct {
	Now         int64
	KIDInSet    bool
	Authority   Authority // TokensBefore and KeysBefore
	Credentials []CredentialState
}

// KeyState is what the database knows of an API key at one moment. Key.ID is empty when there is none.
type KeyState struct {
	Now       int64
	Authority Authority // KeysBefore
	Key       APIKey
	User      User
}

// MadeBefore reports whether an id is older than a watermark in milliseconds. An id without a time is.
func MadeBefore(id string, watermark int64) bool { return madeBefore(id, watermark) }

// jtiTarget begins the target of an event that revokes one token.
const jtiTarget = "jti:"

// checkedUser and checkedKey are the columns that decide; they bear an outer join.
const (
	checkedUser = `COALESCE(%[1]s.id, ''), COALESCE(%[1]s.roles, '[]'), COALESCE(%[1]s.plan, ''),
		COALESCE(%[1]s.disabled, FALSE), COALESCE(%[1]s.tv, 0), COALESCE(%[1]s.keys_tv, 0), COALESCE(%[1]s.rv, 0)`
	checkedKey = `COALESCE(k.id, ''), COALESCE(k.user_id, ''), COALESCE(k.mode, ''), COALESCE(k.scopes, '[]'),
		COALESCE(k.tv, 0), COALESCE(k.kv, 0), COALESCE(k.suspended, FALSE), k.not_after, COALESCE(k.ended, FALSE), COALESCE(k.successor, '')`
	checkedSession = `COALESCE(s.id, ''), COALESCE(s.user_id, ''), COALESCE(s.tv, 0), s.ended_at,
		COALESCE(s.expires_at, 0), COALESCE(s.idle_expires_at, 0)`
)

func (u *User) checked() []any {
	return []any{&u.ID, scanList(&u.Roles), &u.Plan, &u.Disabled, &u.TV, &u.KeysTV, &u.RV}
}

func (k *APIKey) checked() []any {
	return []any{&k.ID, &k.UserID, &k.Mode, scanList(&k.Scopes), &k.TV, &k.KV, &k.Suspended, &k.NotAfter, &k.Ended, &k.Successor}
}

func (s *Session) checked() []any {
	return []any{&s.ID, &s.UserID, &s.TV, &s.EndedAt, &s.ExpiresAt, &s.IdleExpiresAt}
}

// statements keeps prepared statements of the reader for SQLite, which otherwise parses and plans each time; the driver of
// PostgreSQL keeps its own.
type statements struct {
	mu     sync.Mutex
	byText map[string]*sql.Stmt
}

// askReader runs a query of this file. Its first parameter is for [DB.clockParameter].
func (db *DB) askReader(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if db.dialect.engine != SQLite {
		return db.reader.QueryContext(ctx, query, args...)
	}
	db.prepared.mu.Lock()
	stmt, err := db.prepared.byText[query], error(nil)
	if stmt == nil {
		if stmt, err = db.reader.PrepareContext(ctx, query); err == nil {
			if db.prepared.byText == nil {
				db.prepared.byText = map[string]*sql.Stmt{}
			}
			db.prepared.byText[query] = stmt
		}
	}
	db.prepared.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// clockParameter returns an expression for the database's time and the value of its parameter, $1, so that a statement's
// text doesn't change with the time.
func (db *DB) clockParameter() (expression string, value int64) {
	offset := db.offset().Microseconds()
	if db.dialect.clock == "" {
		return "CAST($1 AS BIGINT)", time.Now().UnixMicro() + offset
	}
	return "(" + db.dialect.clock + " + CAST($1 AS BIGINT))", offset
}

// CheckToken reads what decides about a token signed with kid: the first credential is its own, the others are its
// parents, at most [events.MaxParents]. Ids MUST be UUIDs, or empty.
func (db *DB) CheckToken(ctx context.Context, kid string, credentials []Credential) (TokenState, error) {
	clock, now := db.clockParameter()
	query, args := checkTokenQuery(clock, len(credentials)), []any{now, kid}
	for i, c := range credentials {
		args = append(args, i, c.JTI, c.SessionID, c.Subject, c.KeyID)
	}
	var state TokenState
	err := db.retry(ctx, func() (err error) {
		state, err = db.checkToken(ctx, query, args, credentials)
		return err
	})
	return state, err
}

func checkTokenQuery(clock string, credentials int) string {
	rows := make([]string, credentials)
	for i := range rows {
		n := 3 + 5*i
		rows[i] = fmt.Sprintf(`(CAST($%d AS INTEGER), CAST($%d AS TEXT), CAST($%d AS TEXT), CAST($%d AS TEXT), CAST($%d AS TEXT))`,
			n, n+1, n+2, n+3, n+4)
	}
	return `WITH asked (place, jti, sid, sub, key_id) AS (VALUES ` + strings.Join(rows, ", ") + `)
		SELECT ` + clock + `, authority.tokens_before, authority.keys_before,
		EXISTS (SELECT 1 FROM signing_keys WHERE signing_keys.kid = $2 AND signing_keys.purpose = '` + string(PurposeToken) + `'),
		EXISTS (SELECT 1 FROM events WHERE events.target = '` + jtiTarget + `' || asked.jti), ` +
		fmt.Sprintf(checkedUser, "u") + `, ` + checkedSession + `, ` + checkedKey + `, ` + fmt.Sprintf(checkedUser, "ku") + `
		FROM asked CROSS JOIN authority
		LEFT JOIN users u ON u.id = asked.sub
		LEFT JOIN sessions s ON s.id = asked.sid
		LEFT JOIN api_keys k ON k.id = asked.key_id
		LEFT JOIN users ku ON ku.id = k.user_id
		ORDER BY asked.place`
}

func (db *DB) checkToken(ctx context.Context, query string, args []any, credentials []Credential) (TokenState, error) {
	state := TokenState{Credentials: make([]CredentialState, 0, len(credentials))}
	err := db.eachRow(ctx, func(rows *sql.Rows) error {
		if len(state.Credentials) == len(credentials) {
			return errRows
		}
		c := CredentialState{Credential: credentials[len(state.Credentials)]}
		into := []any{&state.Now, &state.Authority.TokensBefore, &state.Authority.KeysBefore, &state.KIDInSet, &c.JTIRevoked}
		into = append(append(into, c.User.checked()...), c.Session.checked()...)
		into = append(append(into, c.Key.checked()...), c.KeyUser.checked()...)
		err := rows.Scan(into...)
		state.Credentials = append(state.Credentials, c)
		return err
	}, query, args...)
	if err == nil && len(state.Credentials) != len(credentials) {
		err = errRows
	}
	return state, err
}

// errRows would mean that an outer join lost or doubled a credential.
var errRows = errors.New("elite: not one row for each credential")

// KeyByHash reads what decides about an API key, by the SHA-256 of the whole key.
func (db *DB) KeyByHash(ctx context.Context, hash events.Hash) (KeyState, error) {
	clock, now := db.clockParameter()
	query := `SELECT ` + clock + `, authority.keys_before, ` + checkedKey + `, ` + fmt.Sprintf(checkedUser, "u") + `
		FROM authority LEFT JOIN api_keys k ON k.hash = $2 LEFT JOIN users u ON u.id = k.user_id`
	var state KeyState
	err := db.retry(ctx, func() error {
		state = KeyState{}
		into := []any{&state.Now, &state.Authority.KeysBefore}
		into = append(append(into, state.Key.checked()...), state.User.checked()...)
		return db.eachRow(ctx, func(rows *sql.Rows) error { return rows.Scan(into...) }, query, now, hash[:])
	})
	if err == nil && state.Now == 0 {
		err = errRows
	}
	return state, err
}

// TokenKeySet reads the public JWKs of the token keys in the set, and the time.
func (db *DB) TokenKeySet(ctx context.Context) (jwks []string, now int64, err error) {
	clock, value := db.clockParameter()
	query := `SELECT ` + clock + `, public_jwk FROM signing_keys WHERE purpose = $2 ORDER BY active_at, kid`
	err = db.retry(ctx, func() error {
		jwks = nil
		return db.eachRow(ctx, func(rows *sql.Rows) error {
			var jwk string
			err := rows.Scan(&now, &jwk)
			jwks = append(jwks, jwk)
			return err
		}, query, value, string(PurposeToken))
	})
	return jwks, now, err
}

// eachRow runs a query on the reader and scans its rows.
func (db *DB) eachRow(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := db.askReader(ctx, query, args...)
	if err != nil {
		return db.classify(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return db.classify(err)
		}
	}
	return db.classify(rows.Err())
}

// Readable proves that questions can be answered from the primary now. Unlike [DB.Ping] it doesn't wait for writers.
func (db *DB) Readable(ctx context.Context) error {
	var id int
	return db.classify(db.reader.QueryRowContext(ctx, `SELECT id FROM authority`).Scan(&id))
}
