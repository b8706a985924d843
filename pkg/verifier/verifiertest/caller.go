package verifiertest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// Caller is a principal with a credential of its own.
type Caller struct {
	// Principal is what handlers find in the context, as long as nothing is changed.
	verifier.Principal
	// Secret is the token or key.
	Secret string
}

// Authorization is the value of the header, or the gRPC metadata, of that name.
func (c Caller) Authorization() string {
	if c.Method == verifier.MethodAPIKey {
		return "Api-Key " + c.Secret
	}
	return "Bearer " + c.Secret
}

// Credential is for [verifier.Verifier.Verify] and [verifier.Verifier.Live].
func (c Caller) Credential() verifier.Credential {
	if c.Method == verifier.MethodAPIKey {
		return verifier.APIKey(c.Secret)
	}
	return verifier.Bearer(c.Secret)
}

// Defaults of what [Issuer.Token] and [Issuer.Key] fill in.
const (
	DefaultAccessTTL = 15 * time.Minute
	DefaultRole      = "user"
	DefaultPlan      = "free"
)

// Token issues an access token for a principal. Every field may be left out: a subject without id is a new user, with the
// role "user" and the plan "free"; a session without id is a new login; it expires after 15 minutes; its mode is that which
// the verifier accepts. Ids are UUIDv7; [UserID] makes one of a name.
//
// A user's roles and plan are those of its first credential, and change by [Issuer.SetRoles] and [Issuer.SetPlan]. With Actor
// or KeyID the token is derived: it dies with that user's tokens, or with that key of [Issuer.Key]; and its Roles may
// be fewer than the user's. Expires may be in the past. Method and Scopes mean nothing here.
//
// As in production no token tells the plan: handlers see it when it was given here, or changed, or on elite routes.
func (i *Issuer) Token(p verifier.Principal) Caller {
	i.t.Helper()
	return i.TokenWith(p, nil)
}

// TokenWith is Token with more claims, for [verifier.Principal.Claim]. Those that a token has anyway can't be given.
func (i *Issuer) TokenWith(p verifier.Principal, more map[string]any) Caller {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	derived := p.Actor != "" || p.KeyID != ""
	u := i.userOf(&p, derived)
	p.Method, p.Scopes = verifier.MethodBearer, nil
	p.Mode = i.modeOf(p)
	p.TokenID = orElse(i.validID("token", p.TokenID), i.newID())
	p.ClientID = orElse(p.ClientID, orElse(p.KeyID, "tocsin"))
	if p.SessionID = i.validID("session", p.SessionID); p.KeyID == "" {
		p.SessionID = orElse(p.SessionID, i.newID())
	}
	if p.Expires.IsZero() {
		p.Expires = i.Now().Add(DefaultAccessTTL)
	}
	p.Expires = p.Expires.UTC().Truncate(time.Second)
	c := Caller{p, i.sign(i.claims(p, u, more))}
	if !u.told {
		c.Plan = "" // no token tells it
	}
	return c
}

func (i *Issuer) modeOf(p verifier.Principal) verifier.Mode {
	i.t.Helper()
	switch p.Mode {
	case "":
		return i.mode
	case verifier.ModeLive, verifier.ModeTest:
	default:
		i.t.Fatalf("verifiertest: mode is %q: want live or test", p.Mode)
	}
	return p.Mode
}

// claims are those of the contract. Callers hold mu.
func (i *Issuer) claims(p verifier.Principal, u *user, more map[string]any) map[string]any {
	i.t.Helper()
	c := map[string]any{
		"iss": URL, "aud": Audience, "sub": p.Subject, "jti": p.TokenID, "client_id": p.ClientID,
		"iat": i.Now().Unix(), "exp": p.Expires.Unix(), "roles": p.Roles, "rv": u.RV, "tv": u.tv, "mode": p.Mode,
	}
	if p.SessionID != "" {
		c["sid"] = p.SessionID
	}
	if !p.AuthTime.IsZero() {
		c["auth_time"] = p.AuthTime.Unix()
	}
	if p.AuthMethods != nil {
		c["amr"] = p.AuthMethods
	}
	if p.KeyID != "" {
		if i.keyByID(p.KeyID) == nil {
			i.t.Fatalf("verifiertest: no key with the id %q was issued", p.KeyID)
		}
		c["key_id"] = p.KeyID
	}
	if p.Actor != "" {
		actor := i.userOf(&verifier.Principal{Subject: p.Actor}, false)
		c["act"] = map[string]any{"sub": p.Actor, "client_id": p.ClientID}
		parent := events.Parent{Subject: p.Actor, TV: actor.tv, KeyID: p.KeyID} // the key, or else a token, of the actor
		if p.KeyID == "" {
			parent.JTI = i.newID()
		}
		c["parents"] = []events.Parent{parent}
	}
	for name := range maps.Keys(more) {
		if _, taken := c[name]; taken || slices.Contains([]string{"nbf", "sid", "auth_time", "amr", "key_id", "act", "parents"}, name) {
			i.t.Fatalf("verifiertest: claim %q is one of the issuer's own", name)
		}
	}
	maps.Copy(c, more)
	return c
}

// sign makes a token (RFC 9068).
func (i *Issuer) sign(claims map[string]any) string {
	i.t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		i.t.Fatalf("verifiertest: claims: %v", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"EdDSA","typ":"at+jwt","kid":"`+kid+`"}`)) + "." + encode(payload)
	return signed + "." + encode(ed25519.Sign(i.key, []byte(signed)))
}

// Key issues an API key for a principal, whose fields are those of [Issuer.Token]. Scopes narrow the user's roles; it
// doesn't expire unless Expires is given. Session, actor and what else is a token's mean nothing here.
func (i *Issuer) Key(p verifier.Principal) Caller {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	u := i.userOf(&p, false)
	p = verifier.Principal{
		Subject: p.Subject, Roles: p.Roles, Plan: p.Plan, Method: verifier.MethodAPIKey, Mode: i.modeOf(p),
		KeyID: orElse(i.validID("key", p.KeyID), i.newID()), Scopes: p.Scopes, Expires: p.Expires.UTC(),
	}
	k := &key{owner: u, KeyInfo: events.KeyInfo{ID: p.KeyID, Mode: p.Mode, Scopes: p.Scopes, TV: u.tv, KV: i.nextVersion()}}
	if !p.Expires.IsZero() {
		end := p.Expires.UnixMicro()
		k.NotAfter = &end
	}
	if len(p.Scopes) > 0 {
		p.Roles = slices.DeleteFunc(slices.Clone(p.Roles), func(role string) bool { return !slices.Contains(p.Scopes, role) })
	}
	c := Caller{p, apikey.New(p.Mode)}
	i.keys[events.HashOf([]byte(c.Secret))] = k
	return c
}

// UserID makes the id of a user out of a name: always the same.
func UserID(name string) string {
	hash := sha256.Sum256([]byte(name))
	return versioned(events.ID(hash[:16]), began).String()
}

// newID makes one that bears the issuer's time, which is what [Issuer.RevokeAll] goes by.
func (i *Issuer) newID() string {
	var id events.ID
	rand.Read(id[:])
	return versioned(id, i.Now()).String()
}

// versioned makes a UUIDv7 (RFC 9562, section 5.7) of 128 bits and a time.
func versioned(id events.ID, at time.Time) events.ID {
	ms := at.UnixMilli()
	for n := range 6 {
		id[n] = byte(ms >> (40 - 8*n))
	}
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	return id
}

// validID returns an id that is absent or as tokens have them.
func (i *Issuer) validID(of, id string) string {
	i.t.Helper()
	if parsed, err := events.ParseID(id); id != "" && (err != nil || !parsed.IsV7()) {
		i.t.Fatalf("verifiertest: id of the %s is %q: want a UUIDv7, or none for a new one; UserID makes one of a name", of, id)
	}
	return id
}

func orElse[S ~string](s, otherwise S) S {
	if s == "" {
		return otherwise
	}
	return s
}
