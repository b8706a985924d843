package store

import (
	"context"
	"fmt"
	"strings"

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
		COALESCE(k.tv, 0), COALESCE(k.kv, 0), COALESCE(k.suspended, FALSE), k.not_after, COALESCE(k.successor, '')`
	checkedSession = `COALESCE(s.id, ''), COALESCE(s.user_id, ''), COALESCE(s.tv, 0), s.ended_at,
		COALESCE(s.expires_at, 0), COALESCE(s.idle_expires_at, 0)`
)

func (u *User) checked() []any {
	return []any{&u.ID, scanList(&u.Roles), &u.Plan, &u.Disabled, &u.TV, &u.KeysTV, &u.RV}
}

func (k *APIKey) checked() []any {
	return []any{&k.ID, &k.UserID, &k.Mode, scanList(&k.Scopes), &k.TV, &k.KV, &k.Suspended, &k.NotAfter, &k.Successor}
}

func (s *Session) checked() []any {
	return []any{&s.ID, &s.UserID, &s.TV, &s.EndedAt, &s.ExpiresAt, &s.IdleExpiresAt}
}

// CheckToken reads what decides about a token signed with kid: the first credential is its own, the others are its
// parents, at most [events.MaxParents]. Ids MUST be UUIDs, or empty.
func (db *DB) CheckToken(ctx context.Context, kid string, credentials []Credential) (TokenState, error) {
	args := []any{kid}
	for i, c := range credentials {
		args = append(args, i, c.JTI, c.SessionID, c.Subject, c.KeyID)
	}
	var state TokenState
	err := db.retry(ctx, func() (err error) {
		state, err = db.checkToken(ctx, db.checkTokenQuery(len(credentials)), args, credentials)
		return err
	})
	return state, err
}

func (db *DB) checkTokenQuery(credentials int) string {
	rows := make([]string, credentials)
	for i := range rows {
		n := 2 + 5*i
		rows[i] = fmt.Sprintf(`(CAST($%d AS INTEGER), CAST($%d AS TEXT), CAST($%d AS TEXT), CAST($%d AS TEXT), CAST($%d AS TEXT))`,
			n, n+1, n+2, n+3, n+4)
	}
	return `WITH asked (place, jti, sid, sub, key_id) AS (VALUES ` + strings.Join(rows, ", ") + `)
		SELECT ` + db.clock() + `, authority.tokens_before, authority.keys_before,
		EXISTS (SELECT 1 FROM signing_keys WHERE signing_keys.kid = $1 AND signing_keys.purpose = '` + string(PurposeToken) + `'),
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
	var state TokenState
	rows, err := db.reader.QueryContext(ctx, query, args...)
	if err != nil {
		return state, db.classify(err)
	}
	defer rows.Close()
	for rows.Next() && len(state.Credentials) < len(credentials) {
		c := CredentialState{Credential: credentials[len(state.Credentials)]}
		into := []any{&state.Now, &state.Authority.TokensBefore, &state.Authority.KeysBefore, &state.KIDInSet, &c.JTIRevoked}
		into = append(append(into, c.User.checked()...), c.Session.checked()...)
		into = append(append(into, c.Key.checked()...), c.KeyUser.checked()...)
		if err := rows.Scan(into...); err != nil {
			return state, db.classify(err)
		}
		state.Credentials = append(state.Credentials, c)
	}
	if err := rows.Err(); err != nil {
		return state, db.classify(err)
	}
	if len(state.Credentials) != len(credentials) {
		return state, fmt.Errorf("check: %d rows for %d credentials", len(state.Credentials), len(credentials))
	}
	return state, nil
}

// KeyByHash reads what decides about an API key, by the SHA-256 of the whole key.
func (db *DB) KeyByHash(ctx context.Context, hash events.Hash) (KeyState, error) {
	var state KeyState
	err := db.retry(ctx, func() error {
		state = KeyState{}
		into := []any{&state.Now, &state.Authority.KeysBefore}
		into = append(append(into, state.Key.checked()...), state.User.checked()...)
		return db.classify(db.reader.QueryRowContext(ctx, `SELECT `+db.clock()+`, authority.keys_before, `+
			checkedKey+`, `+fmt.Sprintf(checkedUser, "u")+`
			FROM authority LEFT JOIN api_keys k ON k.hash = $1 LEFT JOIN users u ON u.id = k.user_id`, hash[:]).Scan(into...))
	})
	return state, err
}

// TokenKeySet reads the public JWKs of the token keys in the set, and the time.
func (db *DB) TokenKeySet(ctx context.Context) (jwks []string, now int64, err error) {
	err = db.retry(ctx, func() error {
		jwks = nil
		rows, err := db.reader.QueryContext(ctx, `SELECT `+db.clock()+`, public_jwk FROM signing_keys
			WHERE purpose = $1 ORDER BY active_at, kid`, string(PurposeToken))
		if err != nil {
			return db.classify(err)
		}
		defer rows.Close()
		for rows.Next() {
			var jwk string
			if err := rows.Scan(&now, &jwk); err != nil {
				return db.classify(err)
			}
			jwks = append(jwks, jwk)
		}
		return db.classify(rows.Err())
	})
	return jwks, now, err
}

// Readable proves that questions can be answered from the primary now. Unlike [DB.Ping] it doesn't wait for writers.
func (db *DB) Readable(ctx context.Context) error {
	var id int
	return db.classify(db.reader.QueryRowContext(ctx, `SELECT id FROM authority`).Scan(&id))
}
