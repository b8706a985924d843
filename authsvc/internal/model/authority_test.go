package model

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

const (
	issuer      = "https://auth.example.com"
	otherIssuer = "https://auth.example.net"
	audience    = "tocsin"
	tokenLife   = 15 * time.Minute
	// eventLife is what until gives at least.
	eventLife = tokenLife + events.KeyRetention + time.Minute
)

// fact is one change that a call made and returned from.
type fact struct {
	event string        // its id in the journal; "" for what rests on none
	at    time.Duration // when the call returned, by the world's time
	lost  bool          // the database lost the commit: outside of the promise
	from  int64         // for an end in the future, in microseconds of the database: at is set when it has come
	leapt bool          // it came by a leap of that clock, which verifiers learn with their next proof
}

const notYet = time.Duration(1<<63 - 1)

// flip is one entry of what can be switched on and off: a suspension or a disabled user.
type flip struct {
	*fact
	version int64
	dead    bool
}

// role is one version of a user's roles.
type role struct {
	*fact
	version int64
}

type user struct {
	id       events.ID
	tv       int64
	keysTV   int64
	roles    []role
	disabled []flip
}

// credential is a token or a key, and all that was done to it.
type credential struct {
	name    string
	raw     verifier.Credential
	user    *user
	jti     events.ID
	session events.ID
	kid     string
	expires int64 // of tokens, in microseconds of the database
	// Of API keys:
	isKey     bool
	id        events.ID
	tv        int64
	kv        int64
	suspended []flip
	kills     []*fact
}

// authority is what authsvc knows of users and credentials: the truth.
type authority struct {
	w           *world
	versions    int64
	ids         int
	users       []*user
	credentials []*credential
	byHash      map[events.Hash]*credential
	ceiling     int64 // the greatest exp ever issued, in microseconds
	newest      int64 // the greatest time in an id, in milliseconds
	before      int64 // the watermark
	facts       []*fact
	reserved    []string // ids of writers that have begun
	keys        []ed25519.PrivateKey
	nextKey     int
}

// tokenKeys are those that may come into use.
var tokenKeys = func() (keys []ed25519.PrivateKey) {
	for i := range 8 {
		keys = append(keys, ed25519.NewKeyFromSeed(slices.Repeat([]byte{byte(100 + i)}, ed25519.SeedSize)))
	}
	return keys
}()

func newAuthority(w *world) *authority {
	a := &authority{w: w, versions: 100, byHash: map[events.Hash]*credential{}}
	a.keys, a.nextKey = tokenKeys[:1], 1
	for range 2 {
		a.users = append(a.users, &user{id: a.newID(), tv: a.version(), keysTV: a.version(), roles: []role{{&fact{}, a.version()}}})
	}
	return a
}

func (a *authority) version() int64 { a.versions++; return a.versions }

// newID returns a UUIDv7 of the database's time.
func (a *authority) newID() events.ID {
	a.ids++
	ms := max(a.w.clock.Now().UnixMilli(), a.before)
	a.newest = max(a.newest, ms)
	return events.ID{byte(ms >> 40), byte(ms >> 32), byte(ms >> 24), byte(ms >> 16), byte(ms >> 8), byte(ms),
		6: 0x70, 8: 0x80, 13: byte(a.ids >> 16), 14: byte(a.ids >> 8), 15: byte(a.ids)}
}

func (u *user) role() role {
	last := u.roles[0]
	for _, r := range u.roles {
		if !r.lost && r.version > last.version {
			last = r
		}
	}
	return last
}

func roleName(version int64) string { return fmt.Sprint("role-", version) }

func roleVersion(name string) int64 {
	version, err := strconv.ParseInt(strings.TrimPrefix(name, "role-"), 10, 64)
	if err != nil {
		panic(err)
	}
	return version
}

// mint issues tokens of one new session.
func (a *authority) mint(u *user, n int) (minted []*credential) {
	session := a.newID()
	for range n {
		key := a.keys[len(a.keys)-1]
		now, r := a.w.clock.Now(), u.role()
		c := &credential{user: u, session: session, jti: a.newID(), kid: kid(key), expires: now.Add(tokenLife).Unix() * 1e6}
		a.ceiling = max(a.ceiling, c.expires)
		c.name = fmt.Sprintf("token %d of %s", len(a.credentials), u.id)
		t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
			"iss": issuer, "aud": audience, "sub": u.id.String(), "jti": c.jti.String(), "sid": session.String(), "client_id": "tocsin",
			"iat": now.Unix(), "exp": c.expires / 1e6, "roles": []string{roleName(r.version)}, "rv": r.version, "tv": u.tv,
			"mode": "live", "auth_time": now.Unix(), "amr": []string{"pwd"},
		})
		t.Header["typ"], t.Header["kid"] = "at+jwt", c.kid
		raw, err := t.SignedString(key)
		if err != nil {
			panic(err)
		}
		c.raw = verifier.Bearer(raw)
		minted = append(minted, c)
	}
	a.credentials = append(a.credentials, minted...)
	return minted
}

// makeKey issues an API key.
func (a *authority) makeKey(u *user) *credential {
	raw := apikey.New(events.ModeLive)
	c := &credential{isKey: true, user: u, id: a.newID(), tv: u.keysTV, raw: verifier.APIKey(raw), kv: a.version()}
	c.name = fmt.Sprintf("key %d of %s", len(a.credentials), u.id)
	a.credentials = append(a.credentials, c)
	a.byHash[events.HashOf([]byte(raw))] = c
	return c
}

// commit is a call's transaction and its return: the change and, in the same transaction, its event.
func (a *authority) commit(p events.Payload) *fact {
	f := &fact{at: a.w.elapsed}
	a.facts = append(a.facts, f)
	if a.w.defects.publishLater {
		return f // the process died before it sent the event
	}
	if len(a.reserved) > 0 {
		f.event, a.reserved = a.reserved[0], a.reserved[1:]
	} else {
		f.event = a.w.journal.Begin()
	}
	a.w.journal.CommitAs(f.event, p)
	return f
}

// kill notes a fact on all credentials that it ends.
func (a *authority) kill(f *fact, dies func(*credential) bool) {
	for _, c := range a.credentials {
		if dies(c) {
			c.kills = append(c.kills, f)
		}
	}
}

func (a *authority) revokeToken(c *credential) {
	f := a.commit(events.TokenRevoked{JTI: c.jti.String()})
	a.kill(f, func(o *credential) bool { return o == c })
}

func (a *authority) revokeSession(c *credential) {
	f := a.commit(events.TokenRevoked{SessionID: c.session.String()})
	a.kill(f, func(o *credential) bool { return !o.isKey && o.session == c.session })
}

func (a *authority) revokeUser(u *user, keys bool) {
	u.tv = a.version()
	if keys {
		u.keysTV = u.tv
	}
	f := a.commit(events.TokenRevoked{UserID: u.id.String(), TV: u.tv, Keys: keys})
	a.kill(f, func(o *credential) bool { return o.user == u && (!o.isKey || keys) })
}

// revokeBefore ends everything that was ever issued. The call returns when the watermark has passed.
func (a *authority) revokeBefore(keys bool) {
	a.before = max(a.w.clock.Now().UnixMilli(), a.newest) + 1
	f := a.commit(events.TokenRevoked{Before: a.before, Keys: keys})
	a.kill(f, func(o *credential) bool { return !o.isKey || keys })
	a.w.advance(time.Millisecond)
	f.at = a.w.elapsed
}

func (a *authority) changeRole(u *user) {
	v := a.version()
	disabled := u.isDisabled()
	f := a.commit(events.RoleChanged{UserID: u.id.String(), RV: v, Roles: []string{roleName(v)}, Plan: "free", Disabled: disabled})
	u.roles = append(u.roles, role{f, v})
	u.disabled = append(u.disabled, flip{f, v, disabled})
}

// disable also ends the user's tokens, as authsvc does; enabling doesn't bring them back.
func (a *authority) disable(u *user, disabled bool) {
	if disabled {
		a.revokeUser(u, false)
	}
	v := a.version()
	f := a.commit(events.RoleChanged{UserID: u.id.String(), RV: v, Roles: []string{roleName(v)}, Plan: "free", Disabled: disabled})
	u.roles = append(u.roles, role{f, v})
	u.disabled = append(u.disabled, flip{f, v, disabled})
}

func (u *user) isDisabled() bool { return standing(u.disabled) }

// standing tells how a switch is now, by the truth.
func standing(flips []flip) bool {
	for _, f := range slices.Backward(flips) {
		if !f.lost {
			return f.dead
		}
	}
	return false
}

func (a *authority) suspend(c *credential, suspended bool) {
	c.kv = a.version()
	f := a.commit(events.APIKeyRotated{KeyID: c.id.String(), Suspended: &suspended, KV: c.kv})
	c.suspended = append(c.suspended, flip{f, c.kv, suspended})
}

// endKey ends a key now, or after an overlap.
func (a *authority) endKey(c *credential, overlap time.Duration) {
	end := a.w.clock.Now().Add(overlap).UnixMicro()
	f := a.commit(events.APIKeyRotated{KeyID: c.id.String(), NotAfter: &end})
	if overlap > 0 {
		f.at, f.from = notYet, end
	}
	c.kills = append(c.kills, f)
}

// dawn notes the ends that have come. When the clock is set back to before one, a key lives again: nothing is promised.
func (a *authority) dawn(leapt bool) {
	for _, f := range a.facts {
		come := f.from <= a.w.clock.Now().UnixMicro()
		switch {
		case f.from == 0:
		case come && f.at == notYet:
			f.at, f.leapt = a.w.elapsed, leapt
		case !come && f.at != notYet:
			f.lost = true
		}
	}
}

// rotate withdraws the token keys at once, as in an emergency. The set itself is in every proof, so that this doesn't
// rest on the event.
func (a *authority) rotate() {
	if a.nextKey == len(tokenKeys) {
		return
	}
	a.keys = tokenKeys[a.nextKey : a.nextKey+1]
	a.nextKey++
	a.w.journal.Keys = a.keySetHash()
	a.commit(events.KeysChanged{Hash: a.keySetHash()})
	f := &fact{at: a.w.elapsed}
	a.kill(f, func(o *credential) bool { return !o.isKey })
}

func kid(key ed25519.PrivateKey) string { return events.Thumbprint(key.Public().(ed25519.PublicKey)) }

func (a *authority) keySetHash() events.Hash {
	var kids []string
	for _, k := range a.keys {
		kids = append(kids, kid(k))
	}
	return events.KeySetHash(kids)
}

func jwks(keys ...ed25519.PrivateKey) json.RawMessage {
	list := []map[string]string{}
	for _, k := range keys {
		list = append(list, map[string]string{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": kid(k),
			"x": base64.RawURLEncoding.EncodeToString(k.Public().(ed25519.PublicKey))})
	}
	return encode(map[string]any{"keys": list})
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// restored marks the facts whose events the database doesn't hold any more.
func (a *authority) restored() {
	kept := map[string]bool{}
	for _, r := range a.w.journal.Rows() {
		kept[r.ID] = true
	}
	for _, f := range a.facts {
		f.lost = f.lost || f.event != "" && !kept[f.event]
	}
}

// resolve answers whose a key is.
func (a *authority) resolve(body []byte) []byte {
	q, err := events.DecodeResolveRequest(body)
	if err != nil {
		panic(err)
	}
	answer := events.ResolveAnswer{Nonce: q.Nonce, Request: events.HashOf(body), Now: a.w.clock.Now().UnixMicro()}
	c := a.byHash[q.KeyHash]
	if c != nil && !c.killed(a.w.elapsed) {
		r := c.user.role()
		answer.Found = true
		answer.User = &events.UserInfo{ID: c.user.id.String(), Roles: []string{roleName(r.version)}, Plan: "free", RV: r.version, Disabled: c.user.isDisabled()}
		answer.Key = &events.KeyInfo{ID: c.id.String(), Mode: events.ModeLive, TV: c.tv, KV: c.kv, Suspended: standing(c.suspended), NotAfter: c.end()}
	}
	return encode(answer)
}

// killed reports whether a credential had ended for good at a time.
func (c *credential) killed(by time.Duration) bool {
	return slices.ContainsFunc(c.kills, func(f *fact) bool { return !f.lost && f.at <= by })
}

// end returns when a key ends in the future.
func (c *credential) end() *int64 {
	var end *int64
	for _, f := range c.kills {
		if !f.lost && f.from > 0 && (end == nil || f.from < *end) {
			end = &f.from
		}
	}
	return end
}

// murky reports whether the database lost something that was done to a credential: then nothing is promised about it.
func (c *credential) murky() bool {
	lost := func(f *fact) bool { return f.lost }
	lostFlip := func(f flip) bool { return f.lost }
	return slices.ContainsFunc(c.kills, lost) || slices.ContainsFunc(c.suspended, lostFlip) || slices.ContainsFunc(c.user.disabled, lostFlip)
}

// wavers reports whether a credential was ever dead for a while, so that a refusal may be taken back.
func (c *credential) wavers() bool {
	dead := func(f flip) bool { return f.dead }
	return slices.ContainsFunc(c.suspended, dead) || slices.ContainsFunc(c.user.disabled, dead)
}

// deadThroughout reports whether a credential was dead from a time to another, whatever order its calls had.
func (c *credential) deadThroughout(from, to time.Duration) bool {
	return c.killed(from) || offThroughout(c.user.disabled, from, to) || offThroughout(c.suspended, from, to)
}

func offThroughout(flips []flip, from, to time.Duration) bool {
	off := false
	for _, f := range flips {
		switch {
		case f.lost:
			return false
		case f.at <= from:
			off = f.dead
		case f.at <= to:
			off = off && f.dead
		}
	}
	return off
}

// leastRole returns the version that a call after a time must know.
func (u *user) leastRole(by time.Duration) (least int64) {
	for _, r := range u.roles {
		if !r.lost && r.at <= by {
			least = max(least, r.version)
		}
	}
	return least
}
