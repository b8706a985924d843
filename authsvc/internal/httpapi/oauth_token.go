package httpapi

import (
	"net/http"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

// The grants of the token endpoint.
const (
	grantRefresh           = "refresh_token"
	grantClientCredentials = "client_credentials"
	grantExchange          = "urn:ietf:params:oauth:grant-type:token-exchange"
)

var grants = []string{grantRefresh, grantClientCredentials, grantExchange}

// token is the token endpoint.
func (s *Server) token(w http.ResponseWriter, r *http.Request, f form) error {
	var issued any
	var err error
	switch f["grant_type"] {
	case grantRefresh:
		issued, err = s.refreshGrant(r, f)
	case grantClientCredentials, grantExchange:
		issued, err = s.keyGrant(r, f)
	case "":
		return oauthInvalid("grant_type is required")
	default:
		return newOAuthError(http.StatusBadRequest, "unsupported_grant_type", "the grant is not supported")
	}
	if err != nil {
		return err
	}
	w.Header().Set("Pragma", "no-cache")
	writeJSON(w, http.StatusOK, issued)
	return nil
}

// refreshGrant takes refresh tokens. They belong to the public client of logins, which has no secret to show; whoever
// authenticates as another client is refused (RFC 6749, section 6).
func (s *Server) refreshGrant(r *http.Request, f form) (any, error) {
	if r.Header.Values("Authorization") != nil {
		if _, err := s.client(r.Context(), r, f); err != nil {
			return nil, err
		}
		return nil, newOAuthError(http.StatusBadRequest, "invalid_grant", "the refresh token was not issued to this client")
	}
	if id := f["client_id"]; id != "" && id != clientLogins {
		return nil, newOAuthError(http.StatusBadRequest, "invalid_grant", "the refresh token was not issued to this client")
	}
	if f["scope"] != "" {
		return nil, newOAuthError(http.StatusBadRequest, "invalid_scope", "refresh tokens carry no scope")
	}
	if f["refresh_token"] == "" {
		return nil, oauthInvalid("refresh_token is required")
	}
	tokens, err := s.auth.Refresh(r.Context(), f["refresh_token"], clientFrom(r.Context()))
	return tokens, s.afterFailure(r.Context(), err)
}

// Who has a key and no role that says more needs a token every five minutes. Each is a commit, and everybody may register.
const (
	issuingInterval = time.Second
	issuingBurst    = 60
	issuingUsers    = 100_000
)

// entrusted reports whether an admin has given the client work to do, of which there may be much.
func entrusted(c auth.Caller) bool {
	return c.Has(auth.RoleQueue) || c.Has(auth.RoleWorker) || c.Has(auth.RoleDelegate)
}

// keyGrant is for clients, each of which is an API key.
func (s *Server) keyGrant(r *http.Request, f form) (any, error) {
	caller, err := s.client(r.Context(), r, f)
	if err != nil {
		return nil, err
	}
	if !entrusted(caller) && !s.issuing.allow(caller.UserID, s.now()) {
		return nil, auth.ErrThrottled
	}
	wanted := auth.TokenRequest{Scope: f["scope"], Audience: f["audience"], Resource: f["resource"]}
	if f["grant_type"] == grantClientCredentials {
		return s.auth.ClientCredentials(r.Context(), caller, wanted)
	}
	return s.auth.Exchange(r.Context(), caller, auth.Exchange{TokenRequest: wanted, SubjectToken: f["subject_token"],
		SubjectType: auth.TokenType(f["subject_token_type"]), RequestedType: auth.TokenType(f["requested_token_type"]),
		JobID: f["job_id"], ActorToken: f["actor_token"] != "" || f["actor_token_type"] != ""})
}
