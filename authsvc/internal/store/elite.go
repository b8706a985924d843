package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// The reads of this file answer questions that must see every change whose call returned before the question was
// asked. Each is one statement outside of a transaction, so that it sees one snapshot, taken after the call began, and
// costs one round trip. On PostgreSQL it runs on the primary, like everything else; on SQLite a reader sees whatever was
// committed when its statement began.

// Credential names a token, one that it was derived from, or an API key, by what is known of it. Empty fields name nothing.
type Credential struct {
	JTI       string
	SessionID string
	Subject   string
	KeyID     string
	KeyHash   *events.Hash // SHA-256 of a whole API key; instead of KeyID
	TV        int64        // of the user when the token was issued
}

// Question asks for all that decides about one credential: a token signed with Kid, whose own claims come first and then
// those of its parents, or API keys. Ids MUST be UUIDs, or empty.
type Question struct {
	Kid         string
	Credentials []Credential
}

// CredentialState is what the database knows of a [Credential]. What the credential doesn't name, or doesn't exist, has an
// empty id. Only what decides about life and authorization is filled, with the names of who it is.
type CredentialState struct {
	Credential
	JTIRevoked bool
	User       User
	Session    Session
	Key        APIKey
	KeyUser    User // whose key it is
}

// State is the answer to a [Question], all of one moment: a state for each of its credentials, in order.
type State struct {
	Now         int64
	KIDInSet    bool
	Authority   Authority // TokensBefore and KeysBefore
	Credentials []CredentialState
}

// MadeBefore reports whether an id is older than a watermark in milliseconds. An id without a time is.
func MadeBefore(id string, watermark int64) bool { return madeBefore(id, watermark) }

// jtiTarget begins the target of an event that revokes one token.
const jtiTarget = "jti:"

// checkedUser and checkedKey are the columns that decide; they bear an outer join.
const (
	checkedUser = `COALESCE(%[1]s.id, ''), COALESCE(%[1]s.username, ''), COALESCE(%[1]s.roles, '[]'), COALESCE(%[1]s.plan, ''),
		COALESCE(%[1]s.disabled, FALSE), COALESCE(%[1]s.tv, 0), COALESCE(%[1]s.keys_tv, 0), COALESCE(%[1]s.rv, 0)`
	checkedKey = `COALESCE(k.id, ''), COALESCE(k.user_id, ''), COALESCE(k.mode, ''), COALESCE(k.scopes, '[]'), COALESCE(k.tv, 0),
		COALESCE(k.kv, 0), COALESCE(k.suspended, FALSE), k.not_after, COALESCE(k.ended, FALSE), COALESCE(k.successor, ''), COALESCE(k.created_at, 0)`
	checkedSession = `COALESCE(s.id, ''), COALESCE(s.user_id, ''), COALESCE(s.tv, 0), s.ended_at,
		COALESCE(s.expires_at, 0), COALESCE(s.idle_expires_at, 0)`
)

func (u *User) checked() []any {
	return []any{&u.ID, &u.Username, scanList(&u.Roles), &u.Plan, &u.Disabled, &u.TV, &u.KeysTV, &u.RV}
}

func (k *APIKey) checked() []any {
	return []any{&k.ID, &k.UserID, &k.Mode, scanList(&k.Scopes), &k.TV, &k.KV, &k.Suspended, &k.NotAfter, &k.Ended, &k.Successor, &k.CreatedAt}
}

func (s *Session) checked() []any {
	return []any{&s.ID, &s.UserID, &s.TV, &s.EndedAt, &s.ExpiresAt, &s.IdleExpiresAt}
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

// Ask answers questions, in order, by one statement that begins after the call did.
func (db *DB) Ask(ctx context.Context, questions []Question) ([]State, error) {
	var states []State
	err := db.retry(ctx, func() error {
		a := newAnswer(questions)
		query, args := a.statement(db)
		err := db.eachRow(ctx, db.asker, a.scan, query, args...)
		if err == nil {
			err = a.complete()
		}
		states = a.states
		return err
	})
	return states, err
}

// Ask answers a question as of this transaction; Now of the answer is the transaction's.
func (tx *Tx) Ask(ctx context.Context, question Question) (State, error) {
	a := newAnswer([]Question{question})
	query, args := a.statement(tx.db)
	_, err := queryAll(ctx, tx, func(s scanner) (struct{}, error) { return struct{}{}, a.scan(s) }, query, args...)
	if err == nil {
		err = a.complete()
	}
	if err != nil {
		return State{}, err
	}
	a.states[0].Now = tx.Now()
	return a.states[0], tx.failed
}

// askedRow is a credential of a question, on its way to the database and back.
type askedRow struct {
	question, credential int
	kid                  string
	Credential
}

// shape says what is asked for at all: a statement doesn't look for more.
type shape struct {
	tokens, keysByID, keysByHash bool
}

func (s *shape) add(q Question, c Credential) {
	s.tokens = s.tokens || q.Kid != "" || c.JTI != "" || c.SessionID != "" || c.Subject != ""
	s.keysByID = s.keysByID || c.KeyID != ""
	s.keysByHash = s.keysByHash || c.KeyHash != nil
}

const (
	askTokens = `,
		(SELECT 1 FROM signing_keys WHERE signing_keys.kid = asked.kid AND signing_keys.purpose = '` + string(PurposeToken) + `' LIMIT 1) IS NOT NULL,
		(SELECT 1 FROM events WHERE events.target = '` + jtiTarget + `' || NULLIF(asked.jti, '') LIMIT 1) IS NOT NULL, `
	joinTokens = `
		LEFT JOIN users u ON u.id = NULLIF(asked.sub, '')
		LEFT JOIN sessions s ON s.id = NULLIF(asked.sid, '')`
	joinKeysByID   = ` LEFT JOIN api_keys k ON k.id = NULLIF(asked.key_id, '')`
	joinKeysByHash = ` LEFT JOIN api_keys k ON k.hash = asked.key_hash`
	joinKeysByBoth = ` LEFT JOIN api_keys h ON h.hash = asked.key_hash LEFT JOIN api_keys k ON k.id = COALESCE(h.id, NULLIF(asked.key_id, ''))`
	joinKeyUsers   = ` LEFT JOIN users ku ON ku.id = k.user_id`
)

// query finds all that is asked for. Whatever the tables hold, it has to be found by their indexes: so the sub-queries
// are such as PostgreSQL never turns into a read of a whole table.
func (s shape) query(source, clock string) string {
	columns, joins := "", ""
	if s.tokens {
		columns = askTokens + fmt.Sprintf(checkedUser, "u") + ", " + checkedSession
		joins = joinTokens
	}
	switch {
	case s.keysByID && s.keysByHash:
		joins += joinKeysByBoth
	case s.keysByID:
		joins += joinKeysByID
	case s.keysByHash:
		joins += joinKeysByHash
	}
	if s.keysByID || s.keysByHash {
		columns += ", " + checkedKey + ", " + fmt.Sprintf(checkedUser, "ku")
		joins += joinKeyUsers
	}
	return `WITH asked (place, kid, jti, sid, sub, key_id, key_hash) AS (` + source + `)
		SELECT asked.place, ` + clock + `, authority.tokens_before, authority.keys_before` + columns + `
		FROM asked CROSS JOIN authority` + joins + ` WHERE authority.id = 1`
}

// answer collects the rows of one.
type answer struct {
	shape  shape
	rows   []askedRow
	states []State
	seen   []bool // of rows
	into   []any
	// row is what into points to.
	row struct {
		place      int
		now        int64
		authority  Authority
		kidInSet   bool
		credential CredentialState
	}
}

func newAnswer(questions []Question) *answer {
	a := &answer{states: make([]State, len(questions)), rows: make([]askedRow, 0, len(questions))}
	for i, q := range questions {
		a.states[i].Credentials = make([]CredentialState, len(q.Credentials))
		for j, c := range q.Credentials {
			a.rows = append(a.rows, askedRow{i, j, q.Kid, c})
			a.shape.add(q, c)
		}
	}
	a.seen = make([]bool, len(a.rows))
	return a
}

func (a *answer) statement(db *DB) (query string, args []any) {
	r := &a.row
	a.into = []any{&r.place, &r.now, &r.authority.TokensBefore, &r.authority.KeysBefore}
	if a.shape.tokens {
		a.into = append(a.into, &r.kidInSet, &r.credential.JTIRevoked)
		a.into = append(append(a.into, r.credential.User.checked()...), r.credential.Session.checked()...)
	}
	if a.shape.keysByID || a.shape.keysByHash {
		a.into = append(append(a.into, r.credential.Key.checked()...), r.credential.KeyUser.checked()...)
	}
	source, args := db.dialect.asked(a.rows)
	clock, now := db.clockParameter()
	return a.shape.query(source, clock), append([]any{now}, args...)
}

func (a *answer) scan(s scanner) error {
	r := &a.row
	r.credential = CredentialState{} // lists would be read into those of the row before
	if err := s.Scan(a.into...); err != nil {
		return err
	}
	if r.place >= len(a.rows) || a.seen[r.place] {
		return errRows
	}
	a.seen[r.place] = true
	row := &a.rows[r.place]
	state := &a.states[row.question]
	r.credential.Credential = row.Credential
	state.Now, state.Authority = r.now, r.authority
	state.KIDInSet = state.KIDInSet || r.kidInSet
	state.Credentials[row.credential] = r.credential
	return nil
}

// complete finds out whether there was a row for everything.
func (a *answer) complete() error {
	if slices.Contains(a.seen, false) {
		return errRows
	}
	return nil
}

// errRows would mean that an outer join lost or doubled a credential.
var errRows = errors.New("elite: not one row for each credential")

// TokenKeySet reads the public JWKs of the token keys in the set, and the time.
func (db *DB) TokenKeySet(ctx context.Context) (jwks []string, now int64, err error) {
	clock, value := db.clockParameter()
	query := `SELECT ` + clock + `, public_jwk FROM signing_keys WHERE purpose = $2 ORDER BY active_at, kid`
	err = db.retry(ctx, func() error {
		jwks = nil
		return db.eachRow(ctx, db.reader, func(rows scanner) error {
			var jwk string
			err := rows.Scan(&now, &jwk)
			jwks = append(jwks, jwk)
			return err
		}, query, value, string(PurposeToken))
	})
	return jwks, now, err
}

// eachRow runs a query and scans its rows.
func (db *DB) eachRow(ctx context.Context, pool *sql.DB, scan func(scanner) error, query string, args ...any) error {
	rows, err := pool.QueryContext(ctx, query, args...)
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
	return db.classify(db.asker.QueryRowContext(ctx, `SELECT id FROM authority`).Scan(&id))
}
