package auth

import (
	"slices"
	"strings"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// TokenType is a token type identifier (RFC 8693, section 3).
type TokenType string

// The types that a subject token may have. The first and the job grant may be asked for.
const (
	TypeAccessToken TokenType = "urn:ietf:params:oauth:token-type:access_token"
	TypeAPIKey      TokenType = "urn:tocsin:token-type:api-key"
	TypeJobGrant    TokenType = "urn:tocsin:token-type:job-grant"
	TypeUserID      TokenType = "urn:tocsin:token-type:user-id"
)

const (
	// DerivedTTL is the longest life of a token that was exchanged for, or issued to an API key.
	DerivedTTL = 5 * time.Minute
	// JobGrantTTL is the longest life of a job grant.
	JobGrantTTL = store.MaxGrantLife
)

// The token types of answers (RFC 6749, section 7.1; RFC 8693, section 2.2.1): a job grant isn't for resource services.
const (
	tokenTypeBearer = "Bearer"
	tokenTypeNone   = "N_A"
)

// TokenRequest is what a client asks of the token endpoint. Empty fields weren't given.
type TokenRequest struct {
	Scope    string
	Audience string
	Resource string
}

// Exchange is a request of RFC 8693.
type Exchange struct {
	TokenRequest
	SubjectToken  string
	SubjectType   TokenType
	RequestedType TokenType
	JobID         string
	ActorToken    bool // one was given
}

// DerivedToken is the answer to both (RFC 6749, section 5.1; RFC 8693, section 2.2.1). Its life is in whole seconds.
type DerivedToken struct {
	AccessToken     string    `json:"access_token"`
	IssuedTokenType TokenType `json:"issued_token_type"`
	TokenType       string    `json:"token_type"`
	ExpiresIn       int64     `json:"expires_in"`
	Scope           string    `json:"scope,omitempty"`
}

// check returns the roles that were asked for, nil for all that can be had. There is one audience.
func (r TokenRequest) check(audience string) (scope []string, err error) {
	for _, target := range []string{r.Audience, r.Resource} {
		if target != "" && target != audience {
			return nil, ErrInvalidTarget
		}
	}
	if r.Scope == "" {
		return nil, nil
	}
	scope, err = canonicalNames("scope", strings.Split(r.Scope, " "))
	if err != nil {
		return nil, &Error{Code: CodeInvalidScope, Field: "scope", Message: "must be names of roles with a space between two"}
	}
	return scope, nil
}

// check refuses what can't be asked for, whoever asks.
func (x Exchange) check() error {
	switch {
	case x.ActorToken:
		return invalid("actor_token", "is not supported: the client itself is the actor")
	case x.SubjectToken == "":
		return invalid("subject_token", "is required")
	case !slices.Contains([]TokenType{TypeAccessToken, TypeAPIKey, TypeJobGrant, TypeUserID}, x.SubjectType):
		return invalid("subject_token_type", "is not one that can be exchanged")
	case !slices.Contains([]TokenType{"", TypeAccessToken, TypeJobGrant}, x.RequestedType):
		return invalid("requested_token_type", "is not one that is issued")
	case x.wantsGrant() && x.SubjectType != TypeAccessToken && x.SubjectType != TypeAPIKey:
		return invalid("subject_token_type", "must be the user's access token or API key for a job grant")
	case !x.wantsGrant() && x.SubjectType == TypeAPIKey:
		return invalid("subject_token_type", "must not be an API key but for a job grant")
	}
	return x.checkJob()
}

// checkJob wants the job's name where a job grant is asked for or used, and nowhere else.
func (x Exchange) checkJob() error {
	switch wanted := x.wantsGrant() || x.SubjectType == TypeJobGrant; {
	case wanted && x.JobID == "":
		return invalid("job_id", "is required with a job grant")
	case !wanted && x.JobID != "":
		return invalid("job_id", "goes with job grants only")
	}
	return checkText("job_id", x.JobID)
}

func (x Exchange) wantsGrant() bool { return x.RequestedType == TypeJobGrant }

// demands returns the role that the client's key needs. Job grants outlive the token that they come of, so that not everybody who has
// registered, and has seen somebody's token, may make one, or use it. What is exchanged otherwise ends with the subject's token.
func (x Exchange) demands() string {
	switch {
	case x.wantsGrant():
		return RoleQueue
	case x.SubjectType == TypeJobGrant:
		return RoleWorker
	case x.SubjectType == TypeUserID:
		return RoleDelegate
	}
	return ""
}

// scoped returns the roles that were asked for out of those that can be had. The error is [ErrInvalidScope].
func scoped(scope, roles []string) ([]string, error) {
	if scope == nil {
		return roles, nil
	}
	if kept := amongst(scope, roles); len(kept) < len(scope) {
		return nil, ErrInvalidScope
	}
	return scope, nil
}
