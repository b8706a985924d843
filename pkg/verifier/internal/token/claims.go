package token

import "github.com/tocsin-auth/tocsin/pkg/events"

// Limits of the lists in a token.
const (
	maxAudiences = 16
	maxRoles     = 256
	maxMethods   = 16
)

// Claims are those of a verified token. They must not be changed.
type Claims struct {
	KeyID string // of the token key: the header's kid

	ID, Subject events.ID
	SessionID   events.ID // zero for tokens without a login
	APIKeyID    events.ID // zero unless the token was issued to an API key
	ClientID    string
	Mode        events.Mode

	Roles []string
	RV    int64 // version of Roles
	TV    int64 // the subject's token version at issue

	// Seconds since 1970 UTC; NotBefore and AuthTime may be zero.
	Expires, IssuedAt, NotBefore, AuthTime int64

	Methods []string // amr (RFC 8176)
	Parents []Parent
	Actor   *Actor

	// Payload is the JSON object that was signed.
	Payload string
}

// Parent is a credential that the token was derived from. Absent ids are zero.
type Parent struct {
	ID, SessionID, Subject, APIKeyID events.ID

	TV int64
}

// Actor is who acts for the subject (RFC 8693, section 4.1): the outermost one only.
type Actor struct {
	Subject  string
	ClientID string
}

// reader collects what must be there besides the claims themselves.
type reader struct {
	*scanner
	claims   Claims
	issuer   string
	audience string
	forUs    bool
	badID    bool
}

// readClaims reads a signed payload. The issuer is compared string-identically (RFC 8414).
func readClaims(payload, kid, issuer, audience string) (*Claims, error) {
	r := reader{scanner: newScanner(payload), claims: Claims{KeyID: kid, Payload: payload}, audience: audience}
	var room [24]string
	seen := names(room[:0])
	r.open('{')
	for name, ok := r.member(&seen); ok; name, ok = r.member(&seen) {
		r.claim(name)
	}
	switch {
	case !r.end():
		return nil, ErrMalformed
	case r.issuer != issuer:
		return nil, ErrIssuer
	case !r.forUs:
		return nil, ErrAudience
	case r.badID || !complete(seen) || !r.claims.valid():
		return nil, ErrClaims
	}
	claims := r.claims
	return &claims, nil
}

func (r *reader) claim(name string) {
	c := &r.claims
	switch name {
	case "iss":
		r.issuer = r.str()
	case "aud":
		r.readAudience()
	case "sub":
		c.Subject = r.id()
	case "jti":
		c.ID = r.id()
	case "sid":
		c.SessionID = r.id()
	case "key_id":
		c.APIKeyID = r.id()
	case "client_id":
		c.ClientID = r.str()
	case "mode":
		c.Mode = modeOf(r.str())
	case "roles":
		c.Roles = r.strs(maxRoles)
	case "amr":
		c.Methods = r.strs(maxMethods)
	case "parents":
		r.readParents()
	case "act":
		c.Actor = r.readActor()
	default:
		r.number64(name)
	}
}

// modeOf returns the constant for a mode, "" for others: a comparison with a constant then looks at the pointer only.
func modeOf(s string) events.Mode {
	switch events.Mode(s) {
	case events.ModeLive:
		return events.ModeLive
	case events.ModeTest:
		return events.ModeTest
	}
	return ""
}

// number64 reads the numeric claims, and passes over those that this version doesn't know.
func (r *reader) number64(name string) {
	c := &r.claims
	switch name {
	case "exp":
		c.Expires = r.integer()
	case "iat":
		c.IssuedAt = r.integer()
	case "nbf":
		c.NotBefore = r.integer()
	case "auth_time":
		c.AuthTime = r.integer()
	case "rv":
		c.RV = r.integer()
	case "tv":
		c.TV = r.integer()
	default:
		r.skip()
	}
}

// id reads a UUIDv7: its time is what `before` watermarks are compared with.
func (r *reader) id() events.ID {
	id, err := events.ParseID(r.str())
	if err != nil || !id.IsV7() {
		r.badID = true
	}
	return id
}

func (r *reader) readAudience() {
	if r.peek() == '"' {
		r.forUs = r.str() == r.audience
		return
	}
	for _, a := range r.strs(maxAudiences) {
		r.forUs = r.forUs || a == r.audience
	}
}

func (r *reader) readParents() {
	r.open('[')
	for r.element(len(r.claims.Parents)) {
		if len(r.claims.Parents) == events.MaxParents {
			r.fail()
			return
		}
		r.claims.Parents = append(r.claims.Parents, r.readParent())
	}
}

func (r *reader) readParent() Parent {
	var p Parent
	var room [8]string
	seen := names(room[:0])
	r.open('{')
	for name, ok := r.member(&seen); ok; name, ok = r.member(&seen) {
		switch name {
		case "jti":
			p.ID = r.id()
		case "sid":
			p.SessionID = r.id()
		case "sub":
			p.Subject = r.id()
		case "key_id":
			p.APIKeyID = r.id()
		case "tv":
			p.TV = r.integer()
		default:
			r.skip()
		}
	}
	return p
}

func (r *reader) readActor() *Actor {
	var a Actor
	var room [8]string
	seen := names(room[:0])
	r.open('{')
	for name, ok := r.member(&seen); ok; name, ok = r.member(&seen) {
		switch name {
		case "sub":
			a.Subject = r.str()
		case "client_id":
			a.ClientID = r.str()
		default:
			r.skip()
		}
	}
	return &a
}

// required are the claims of RFC 9068, section 2.2, and those without which revocation couldn't be checked.
var required = [...]string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti", "roles", "rv", "tv", "mode"}

func complete(seen names) bool {
	for _, want := range required {
		found := false
		for _, name := range seen {
			found = found || name == want
		}
		if !found {
			return false
		}
	}
	return true
}

func (c *Claims) valid() bool {
	if c.Mode == "" {
		return false
	}
	for _, p := range c.Parents {
		if !p.valid() {
			return false
		}
	}
	return c.actorValid() && c.Expires > 0 && c.IssuedAt > 0 && c.TV >= 0 && c.RV >= 0
}

// valid holds for a parent that everything which ends it can end: each is of a user, of a version of that user's tokens, and
// names what else it is.
func (p Parent) valid() bool {
	return !p.Subject.IsZero() && p.TV > 0 && p != Parent{Subject: p.Subject, TV: p.TV}
}

// actorValid holds for a token without an actor, and for one whose actor's credential is among its parents, with the API key
// that it was issued to. Whose a key really is, authsvc's database knows; here it is who signed the token that says so.
func (c *Claims) actorValid() bool {
	if c.Actor == nil {
		return true
	}
	if c.Actor.ClientID != "" && c.Actor.ClientID != c.ClientID {
		return false
	}
	for _, p := range c.Parents {
		if p.Subject.String() == c.Actor.Subject && (c.APIKeyID.IsZero() || p.APIKeyID == c.APIKeyID) {
			return true
		}
	}
	return false
}
