package verifier

import (
	"net/http"
	"net/url"
	"strings"
)

// Credential is what a caller sent, not verified. Its zero value is no credential. It is a secret: it formats as its
// method only.
type Credential struct {
	method Method
	value  string
}

// Bearer is an access token.
func Bearer(token string) Credential { return Credential{MethodBearer, token} }

// APIKey is an API key.
func APIKey(key string) Credential { return Credential{MethodAPIKey, key} }

// Method returns how the credential was sent, or "" for none.
func (c Credential) Method() Method { return c.method }

// String hides the secret.
func (c Credential) String() string { return string(c.method) + " credential" }

// GoString hides the secret from %#v.
func (c Credential) GoString() string { return c.String() }

// FromRequest finds the one credential of a request, in its Authorization header (RFC 6750, section 2.1). A token in the
// query is never taken. The errors wrap [ErrMissingCredential] and [ErrInvalidRequest].
func FromRequest(r *http.Request) (Credential, error) {
	values := r.Header["Authorization"]
	if len(values) == 0 {
		return Credential{}, ErrMissingCredential
	}
	if len(values) > 1 || hasQueryToken(r.URL) {
		return Credential{}, ErrInvalidRequest
	}
	return parseAuthorization(values[0])
}

// hasQueryToken reports whether a token was sent in the way of RFC 6750, section 2.3: a second method.
func hasQueryToken(u *url.URL) bool {
	return u != nil && strings.Contains(u.RawQuery, "access_token") && u.Query().Has("access_token")
}

// parseAuthorization reads one header value: a scheme in any case, spaces, and one credential (RFC 9110, section 11.4).
func parseAuthorization(value string) (Credential, error) {
	value = strings.Trim(value, " \t")
	if value == "" {
		return Credential{}, ErrInvalidRequest
	}
	scheme, rest, _ := strings.Cut(value, " ")
	rest = strings.TrimLeft(rest, " ")
	var c Credential
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		c = Bearer(rest)
	case strings.EqualFold(scheme, "Api-Key"):
		c = APIKey(rest)
	default:
		return Credential{}, ErrMissingCredential
	}
	if rest == "" || strings.ContainsAny(rest, " \t,") {
		return Credential{}, ErrInvalidRequest
	}
	return c, nil
}
