package auth

import (
	"crypto"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	// clientLogin is the client_id of tokens that a login gave; others carry the id of the API key.
	clientLogin = "tocsin"
	tokenType   = "at+jwt"
	// jobGrantType keeps job grants from being taken for access tokens (RFC 8725, section 3.11).
	jobGrantType = "job-grant+jwt"
	// maxTokenLength is checked before anything is parsed.
	maxTokenLength = 8 << 10
)

// accessClaims are the claims of an access token (RFC 9068 and ours), or of a job grant. Times are whole seconds.
type accessClaims struct {
	Issuer    string          `json:"iss"`
	Subject   string          `json:"sub"`
	Audience  string          `json:"aud"`
	Expires   int64           `json:"exp"`
	IssuedAt  int64           `json:"iat"`
	ID        string          `json:"jti"`
	ClientID  string          `json:"client_id"`
	SessionID string          `json:"sid,omitempty"`
	Roles     []string        `json:"roles"`
	RV        int64           `json:"rv"`
	TV        int64           `json:"tv"`
	Mode      events.Mode     `json:"mode"`
	AuthTime  int64           `json:"auth_time,omitempty"`
	AMR       []string        `json:"amr,omitempty"`
	KeyID     string          `json:"key_id,omitempty"`
	Parents   []events.Parent `json:"parents,omitempty"`
	Actor     *Actor          `json:"act,omitempty"`
	JobID     string          `json:"job_id,omitempty"` // of job grants only
}

// Actor is who acts for the subject of a token, by which API key (RFC 8693, section 4.1).
type Actor struct {
	Subject  string `json:"sub"`
	ClientID string `json:"client_id"`
}

// isJobGrant tells job grants from access tokens.
func (c accessClaims) isJobGrant() bool { return c.JobID != "" }

// typ is the header of that name.
func (c accessClaims) typ() string {
	if c.isJobGrant() {
		return jobGrantType
	}
	return tokenType
}

// derived reports whether the token rests on something else than a session of its user's. Job grants do, too.
func (c accessClaims) derived() bool {
	return c.SessionID == "" || c.KeyID != "" || len(c.Parents) > 0 || c.Actor != nil || c.isJobGrant()
}

// askable reports whether the ids are such as questions may hold. Ours are; another program that has the key may sign anything.
func (c accessClaims) askable() bool {
	ids := []string{c.ID, c.SessionID, c.Subject, c.KeyID}
	for _, p := range c.Parents {
		ids = append(ids, p.JTI, p.SessionID, p.Subject, p.KeyID)
	}
	for _, id := range ids {
		if _, err := events.ParseID(id); err != nil && id != "" {
			return false
		}
	}
	return c.ID != "" && c.Subject != "" && len(c.Parents) <= events.MaxParents
}

// The methods of jwt.Claims. The domain decides by the database's clock, so nothing else uses them.
func (c accessClaims) GetExpirationTime() (*jwt.NumericDate, error) { return seconds(c.Expires), nil }
func (c accessClaims) GetIssuedAt() (*jwt.NumericDate, error)       { return seconds(c.IssuedAt), nil }
func (c accessClaims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (c accessClaims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c accessClaims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c accessClaims) GetAudience() (jwt.ClaimStrings, error) {
	return jwt.ClaimStrings{c.Audience}, nil
}

func seconds(s int64) *jwt.NumericDate { return jwt.NewNumericDate(time.Unix(s, 0)) }

// signToken makes the compact form of an access token or a job grant.
func signToken(kid, alg string, key crypto.PrivateKey, claims accessClaims) (string, error) {
	method := jwt.GetSigningMethod(alg)
	if method == nil {
		return "", fmt.Errorf("sign token: algorithm %s", alg)
	}
	t := jwt.NewWithClaims(method, claims)
	t.Header["typ"], t.Header["kid"] = claims.typ(), kid
	return t.SignedString(key)
}

// keyByID finds a public token key in the current set with the one algorithm it is for.
type keyByID func(kid string) (alg string, key crypto.PublicKey, ok bool)

var errNotOurToken = errors.New("not an access token of ours")

// parseToken verifies shape, algorithm, type and signature, and decodes the claims: of an access token or a job grant.
// Which of them, issuer, audience, life and revocation are the caller's to judge. The error is errNotOurToken.
func parseToken(token string, key keyByID) (accessClaims, error) {
	var claims accessClaims
	if !looksLikeJWT(token) {
		return claims, errNotOurToken
	}
	parser := jwt.NewParser(jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding(),
		jwt.WithValidMethods([]string{"EdDSA", "ES256", "RS256"}))
	_, err := parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		alg, public, ok := key(kid)
		if !ok || t.Header["typ"] != claims.typ() || t.Method.Alg() != alg || t.Header["crit"] != nil {
			return nil, errNotOurToken
		}
		return public, nil
	})
	if err != nil {
		return accessClaims{}, fmt.Errorf("%w: %w", errNotOurToken, err)
	}
	return claims, nil
}

// peekToken reads the claims of a token whose signature may be of a key that has left the set. Nothing in them may be
// trusted: it is for revoking, where a wrong id revokes nothing.
func peekToken(token string) (accessClaims, error) {
	var claims accessClaims
	if !looksLikeJWT(token) {
		return claims, errNotOurToken
	}
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
		return accessClaims{}, fmt.Errorf("%w: %w", errNotOurToken, err)
	}
	return claims, nil
}

// saysJobGrant reports whether a token, whoever made it, has the type of job grants.
func saysJobGrant(token string) bool {
	if !looksLikeJWT(token) {
		return false
	}
	t, _, err := jwt.NewParser().ParseUnverified(token, &accessClaims{})
	return err == nil && t.Header["typ"] == jobGrantType
}

func looksLikeJWT(token string) bool {
	return len(token) <= maxTokenLength && strings.Count(token, ".") == 2
}
