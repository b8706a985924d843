package auth

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// told is what verifiers know that have applied events, in the simplest form: every entry only tightens, or has a version
// of which the highest wins.
type told struct {
	tokens, sessions         map[string]bool
	tv, keysTV               map[string]int64 // by user
	tokensBefore, keysBefore int64            // milliseconds
	notAfter, kv             map[string]int64 // by key
	suspended                map[string]bool
	users                    map[string]events.RoleChanged
}

// tellAll reads the events that were written after one with an id; "" is before all.
func tellAll(t *testing.T, db *sql.DB, after string) *told {
	t.Helper()
	k := &told{tokens: map[string]bool{}, sessions: map[string]bool{}, tv: map[string]int64{}, keysTV: map[string]int64{},
		notAfter: map[string]int64{}, kv: map[string]int64{}, suspended: map[string]bool{}, users: map[string]events.RoleChanged{}}
	rows, err := db.QueryContext(t.Context(), `SELECT type, payload, created_at FROM events WHERE id > $1`, after)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var kind, payload string
		var at int64
		if err := rows.Scan(&kind, &payload, &at); err != nil {
			t.Fatal(err)
		}
		raw, err := events.EncodeEvent(1, events.Type(kind), at, at, []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		e, err := events.DecodeEvent(raw)
		if err != nil {
			t.Fatal(err)
		}
		k.apply(e.Payload)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *told) apply(payload events.Payload) {
	switch p := payload.(type) {
	case events.TokenRevoked:
		k.revoke(p)
	case events.RoleChanged:
		if p.RV > k.users[p.UserID].RV {
			k.users[p.UserID] = p
		}
	case events.APIKeyRotated:
		if p.NotAfter != nil {
			if old, ok := k.notAfter[p.KeyID]; !ok || *p.NotAfter < old {
				k.notAfter[p.KeyID] = *p.NotAfter
			}
		}
		if p.Suspended != nil && p.KV > k.kv[p.KeyID] {
			k.kv[p.KeyID], k.suspended[p.KeyID] = p.KV, *p.Suspended
		}
	}
}

func (k *told) revoke(p events.TokenRevoked) {
	if p.JTI != "" {
		k.tokens[p.JTI] = true
	}
	if p.SessionID != "" {
		k.sessions[p.SessionID] = true
	}
	for _, id := range append(p.UserIDs, p.UserID) {
		k.tv[id] = max(k.tv[id], p.TV)
		if p.Keys {
			k.keysTV[id] = max(k.keysTV[id], p.TV)
		}
	}
	k.tokensBefore = max(k.tokensBefore, p.Before)
	if p.Keys {
		k.keysBefore = max(k.keysBefore, p.Before)
	}
}

// session reports whether a session, with the version of its user's tokens, is alive by the events.
func (k *told) session(id, user string, tv int64) bool {
	return !k.sessions[id] && tv >= k.tv[user] && !madeBefore(id, k.tokensBefore) && !k.users[user].Disabled
}

// token does so for an access token or a job grant, which die with each of their parents; the key that signed it is for others
// to judge.
func (k *told) token(c accessClaims, now int64) bool {
	for _, p := range chainOf(c) {
		dead := p.JTI != "" && (k.tokens[p.JTI] || madeBefore(p.JTI, k.tokensBefore)) ||
			p.SessionID != "" && !k.session(p.SessionID, p.Subject, p.TV) || p.TV < k.tv[p.Subject] || k.users[p.Subject].Disabled ||
			p.KeyID != "" && k.keyDead(p.KeyID, now)
		if dead {
			return false
		}
	}
	return true
}

func chainOf(c accessClaims) []events.Parent {
	return append([]events.Parent{{JTI: c.ID, SessionID: c.SessionID, Subject: c.Subject, TV: c.TV, KeyID: c.KeyID}}, c.Parents...)
}

// keyDead is what a verifier knows that only has the key's id.
func (k *told) keyDead(id string, now int64) bool {
	notAfter, ends := k.notAfter[id]
	return ends && notAfter <= now || k.suspended[id] || madeBefore(id, k.keysBefore)
}

// key does so for an API key of which a verifier knows what it was when it was made.
func (k *told) key(key madeKey, now int64) bool {
	return key.tv >= k.keysTV[key.UserID] && !k.keyDead(key.ID, now) && !k.users[key.UserID].Disabled
}

// madeKey is an API key with its user's token version when it was made.
type madeKey struct {
	IssuedKey
	tv int64
}

// verdict is what each of those who decide says of a credential: alive or not.
type verdict struct {
	// calls at authsvc, elite calls of services, and services that know the events
	auth, elite, feed bool
}

func (v verdict) agreed() bool { return v.auth == v.elite && v.elite == v.feed }

func (v verdict) String() string {
	return fmt.Sprintf("alive at authsvc: %v, by the elite check: %v, by the events: %v", v.auth, v.elite, v.feed)
}

func (w *world) judgeToken(t *testing.T, k *told, token string) (accessClaims, verdict) {
	t.Helper()
	claims, err := peekToken(token)
	if err != nil {
		t.Fatal(err)
	}
	v := verdict{auth: w.alive(t, token)}
	if _, err = w.AuthenticateBearer(t.Context(), token, Client{}); (err == nil) != (v.auth && !claims.derived()) {
		t.Errorf("alive %v, and as a caller: %v", v.auth, err)
	}
	question := store.Question{Kid: kidOf(t, token)}
	for _, p := range chainOf(claims) {
		question.Credentials = append(question.Credentials, store.Credential{JTI: p.JTI, SessionID: p.SessionID, Subject: p.Subject, TV: p.TV, KeyID: p.KeyID})
	}
	states, err := w.db.Ask(t.Context(), []store.Question{question})
	if err != nil {
		t.Fatal(err)
	}
	state := states[0]
	v.elite = state.KIDInSet
	for _, c := range state.Credentials {
		v.elite = v.elite && livesBy(state, c)
	}
	v.feed = state.KIDInSet && k.token(claims, state.Now) // verifiers hold exactly the set of the newest keys.changed
	return claims, v
}

// livesBy judges once more, in other words than those of package liveness.
func livesBy(state store.State, c store.CredentialState) bool {
	return !c.JTIRevoked && c.TV >= c.User.TV && c.User.ID != "" && !c.User.Disabled &&
		(c.JTI == "" || !store.MadeBefore(c.JTI, state.Authority.TokensBefore)) &&
		(c.SessionID == "" || c.Session.ID != "" && c.Session.Alive(c.User, state.Authority, state.Now)) &&
		(c.KeyID == "" || c.Key.ID != "" && c.Key.Alive(c.KeyUser, state.Authority, state.Now))
}

func (w *world) judgeKey(t *testing.T, k *told, key madeKey) verdict {
	t.Helper()
	var v verdict
	_, err := w.AuthenticateKey(t.Context(), key.Key, Client{})
	v.auth = err == nil
	state, err := w.askKey(t.Context(), key.Key)
	if err != nil {
		t.Fatal(err)
	}
	found := state.Credentials[0]
	v.elite = found.Key.ID != "" && found.Key.Alive(found.KeyUser, state.Authority, state.Now)
	v.feed = k.key(key, state.Now)
	return v
}

// askKey is the elite check's read.
func (w *world) askKey(ctx context.Context, key string) (store.State, error) {
	hash := events.HashOf([]byte(key))
	states, err := w.db.Ask(ctx, []store.Question{{Credentials: []store.Credential{{KeyHash: &hash}}}})
	if err != nil {
		return store.State{}, err
	}
	return states[0], nil
}

func kidOf(t *testing.T, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	var header struct {
		KID string `json:"kid"`
	}
	if err == nil {
		err = json.Unmarshal(text, &header)
	}
	if err != nil {
		t.Fatal(err)
	}
	return header.KID
}

// checkRoles compares the roles that verifiers give a token, the higher version of the token's and the feed's, with the
// database's.
func (w *world) checkRoles(t *testing.T, k *told, c accessClaims) {
	t.Helper()
	roles := c.Roles
	if state := k.users[c.Subject]; state.RV > c.RV {
		roles = state.Roles
	}
	var user store.User
	err := w.db.View(t.Context(), func(tx *store.Tx) (err error) {
		user, err = tx.User(context.WithoutCancel(t.Context()), c.Subject)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(roles, user.Roles) {
		t.Errorf("verifiers see roles %q (token's rv %d), the database has %q (rv %d)", roles, c.RV, user.Roles, user.RV)
	}
}
