package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

// clientLogins is the client_id of tokens that logins issue: a public client without a secret.
const clientLogins = "tocsin"

// oauthError is an error answer of RFC 6749, section 5.2.
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`

	status int
	header http.Header
}

func (e *oauthError) Error() string { return e.Code + ": " + e.Description }

func newOAuthError(status int, code, description string) *oauthError {
	return &oauthError{Code: code, Description: description, status: status, header: http.Header{}}
}

func oauthInvalid(description string) *oauthError {
	return newOAuthError(http.StatusBadRequest, "invalid_request", description)
}

func (e *oauthError) write(w http.ResponseWriter) {
	header := w.Header()
	for name, values := range e.header {
		header[name] = values
	}
	noteCode(w, e.Code)
	writeJSON(w, e.status, e)
}

// tokenCodes are refusals that are called the same by RFC 6749 and RFC 8693.
var tokenCodes = []auth.Code{auth.CodeInvalidGrant, auth.CodeInvalidScope, auth.CodeInvalidTarget, auth.CodeUnauthorizedClient}

// oauthRefusal says a problem in the words of RFC 6749.
func oauthRefusal(p *Problem) *oauthError {
	code := "invalid_request"
	switch {
	case slices.Contains(tokenCodes, auth.Code(p.Code)):
		code = p.Code
	case p.Code == string(auth.CodeInvalidRefreshToken):
		return newOAuthError(http.StatusBadRequest, "invalid_grant", p.Detail)
	case p.Code == string(auth.CodeUnauthenticated):
		return invalidClient()
	case p.Status == http.StatusForbidden:
		code = "unauthorized_client"
	case p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests:
		code = "temporarily_unavailable"
	case p.Status >= http.StatusInternalServerError:
		code = "server_error"
	}
	e := newOAuthError(p.Status, code, p.Detail)
	if len(p.Errors) == 1 && p.Errors[0].Message == p.Detail {
		e.Description = p.Errors[0].Field + " " + p.Detail
	}
	e.header = p.header.Clone()
	e.header.Del("WWW-Authenticate")
	return e
}

func invalidClient() *oauthError {
	e := newOAuthError(http.StatusUnauthorized, "invalid_client", "the call wants HTTP Basic with key id and key, or Api-Key")
	e.header["Www-Authenticate"] = []string{"Basic " + realm, "Api-Key " + realm}
	return e
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError) // bodies are plain structs: it can't fail
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(text, '\n'))
}

// form is what a call of /oauth2 sends: each parameter at most once (RFC 6749, section 3.1); unknown ones are ignored.
type form map[string]string

// oauth adapts a handler of a form. Parameters never come from the query, where they would end in logs; the names in
// query are the exception.
func (s *Server) oauth(handle func(w http.ResponseWriter, r *http.Request, f form) error, query ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f, refusal := readForm(w, r, query)
		if refusal != nil {
			refusal.write(w)
			return
		}
		err := handle(w, r, f)
		var known *oauthError
		switch {
		case err == nil:
		case errors.As(err, &known):
			known.write(w)
		default:
			oauthRefusal(s.problemFor(r.Context(), err)).write(w)
		}
	}
}

func readForm(w http.ResponseWriter, r *http.Request, query []string) (form, *oauthError) {
	given, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, oauthInvalid("the query is malformed")
	}
	for name, values := range given {
		if !slices.Contains(query, name) || len(values) != 1 {
			return nil, oauthInvalid("parameters belong into the body, each once")
		}
	}
	body, problem := readBody(w, r)
	if problem != nil {
		return nil, oauthRefusal(problem)
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, newOAuthError(http.StatusUnsupportedMediaType, "invalid_request", "the body must be application/x-www-form-urlencoded")
	}
	return parseForm(string(body))
}

func parseForm(body string) (form, *oauthError) {
	values, err := url.ParseQuery(body)
	if err != nil {
		return nil, oauthInvalid("the body is malformed")
	}
	f := make(form, len(values))
	for name, v := range values {
		switch {
		case len(v) > 1:
			return nil, oauthInvalid("a parameter is given twice")
		case !utf8.ValidString(v[0]) || strings.ContainsRune(v[0], 0):
			return nil, oauthInvalid("a parameter is not valid UTF-8 without NUL")
		case v[0] != "": // without a value: as if omitted
			f[name] = v[0]
		}
	}
	return f, nil
}

// client authenticates the caller of /oauth2, and slows down who fails too often.
func (s *Server) client(ctx context.Context, r *http.Request, f form) (auth.Caller, error) {
	caller, err := s.authenticateClient(ctx, r, f)
	return caller, s.afterFailure(ctx, err)
}

// authenticateClient takes an API key (RFC 6749, section 2.3.1: both halves of Basic are
// form-encoded first).
func (s *Server) authenticateClient(ctx context.Context, r *http.Request, f form) (auth.Caller, error) {
	given, err := parseAuthorization(r.Header.Values("Authorization"))
	if err != nil {
		return auth.Caller{}, oauthInvalid(err.Error())
	}
	if _, inBody := f["client_secret"]; inBody {
		return auth.Caller{}, oauthInvalid("client_secret in the body is not supported; send it in the Authorization header")
	}
	key, id := given.value, f["client_id"]
	switch given.scheme {
	case schemeAPIKey:
	case schemeBasic:
		var ok bool
		if id, key, ok = basicCredential(given.value); !ok {
			return auth.Caller{}, invalidClient()
		}
		if inBody := f["client_id"]; inBody != "" && inBody != id {
			return auth.Caller{}, oauthInvalid("client_id is not the one of the Authorization header")
		}
	default:
		return auth.Caller{}, invalidClient()
	}
	caller, err := s.auth.AuthenticateKey(ctx, key, clientFrom(ctx))
	if err != nil {
		return auth.Caller{}, err
	}
	if id != "" && id != caller.KeyID {
		return auth.Caller{}, invalidClient()
	}
	noteCaller(ctx, caller)
	return caller, nil
}

// basicCredential reads key id and key; the id is required.
func basicCredential(encoded string) (id, key string, ok bool) {
	text, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", "", false
	}
	id, key, _ = strings.Cut(string(text), ":")
	if id, err = url.QueryUnescape(id); err != nil || id == "" {
		return "", "", false
	}
	key, err = url.QueryUnescape(key)
	return id, key, err == nil
}

// inactive is all that is ever said of a token that isn't active (RFC 7662, section 2.2).
type inactive struct {
	Active bool `json:"active"`
}

func (s *Server) introspect(w http.ResponseWriter, r *http.Request, f form) error {
	caller, err := s.client(r.Context(), r, f)
	if err != nil {
		return err
	}
	if f["token"] == "" {
		return oauthInvalid("token is required")
	}
	found, err := s.auth.Introspect(r.Context(), caller, f["token"])
	if err != nil {
		return err
	}
	if !found.Active {
		writeJSON(w, http.StatusOK, inactive{})
		return nil
	}
	writeJSON(w, http.StatusOK, found)
	return nil
}

// revokeToken is RFC 7009: unknown tokens are no error, and a wrong hint changes nothing.
func (s *Server) revokeToken(w http.ResponseWriter, r *http.Request, f form) error {
	ctx := r.Context()
	caller, err := s.client(ctx, r, f)
	if err != nil {
		return err
	}
	if f["token"] == "" {
		return oauthInvalid("token is required")
	}
	q, err := s.waitFromQuery(r.URL.Query())
	if err != nil {
		return err
	}
	_, header, err := s.narrow(ctx, q, func() (auth.Change, error) { return s.auth.RevokeToken(ctx, caller, f["token"]) })
	if err != nil {
		return err
	}
	w.Header().Set("Tocsin-Receipt", header.Receipt)
	w.WriteHeader(http.StatusOK)
	return nil
}
