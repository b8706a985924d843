// Package exchange speaks RFC 8693, token exchange, with the issuer: it mints job grants and turns them into access tokens.
package exchange

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The token types of the exchange.
const (
	TypeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	TypeAPIKey      = "urn:tocsin:token-type:api-key"
	TypeJobGrant    = "urn:tocsin:token-type:job-grant"
)

const grantType = "urn:ietf:params:oauth:grant-type:token-exchange"

var (
	// ErrGrant means that the subject's credential is no longer good: it was revoked, has expired, or its user is disabled.
	ErrGrant = errors.New("the user's credential is no longer good")
	// ErrClient means that the caller's own key isn't good. Nothing that it tries will succeed.
	ErrClient = errors.New("the issuer refuses this program's own API key")
	// ErrRequest means that the same request will always be refused.
	ErrRequest = errors.New("the issuer refuses the exchange")
	// ErrAway means that the issuer gave no answer that says anything about the request. It may be repeated.
	ErrAway = errors.New("the issuer can't be asked")
)

// Client exchanges tokens under its own API key. Safe for concurrent use.
type Client struct {
	// Issuer is the base of its URLs.
	Issuer string
	// Key is the caller's own API key, a secret.
	Key  string
	HTTP *http.Client
}

// NewHTTP returns a client that follows no redirect, as what it sends is secret.
func NewHTTP() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Token is what an exchange gave: a secret.
type Token struct {
	Value   string
	Expires time.Time
}

// MintGrant makes a grant for one job of the user whose credential is given: an access token or an API key.
func (c *Client) MintGrant(ctx context.Context, credential, credentialType, jobID string) (Token, error) {
	return c.exchange(ctx, url.Values{
		"subject_token": {credential}, "subject_token_type": {credentialType},
		"requested_token_type": {TypeJobGrant}, "job_id": {jobID},
	}, TypeJobGrant)
}

// Redeem turns a job's grant into an access token of its user, in which the caller is the actor.
func (c *Client) Redeem(ctx context.Context, grant, jobID string) (Token, error) {
	return c.exchange(ctx, url.Values{
		"subject_token": {grant}, "subject_token_type": {TypeJobGrant},
		"requested_token_type": {TypeAccessToken}, "job_id": {jobID},
	}, TypeAccessToken)
}

// timeout bounds one exchange.
const timeout = 10 * time.Second

func (c *Client) exchange(ctx context.Context, form url.Values, issued string) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	form.Set("grant_type", grantType)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.Issuer, "/")+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return Token{}, fmt.Errorf("%w: its URL is malformed", ErrAway)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "Api-Key "+c.Key)
	asked := time.Now()
	res, err := c.HTTP.Do(r)
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrAway, err)
	}
	defer res.Body.Close()
	return decode(res, asked, issued)
}

// answer is that of RFC 6749, sections 5.1 and 5.2, with what RFC 8693 adds.
type answer struct {
	AccessToken string `json:"access_token"`
	IssuedType  string `json:"issued_token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Error       string `json:"error"`
}

// maxAnswer is far more than an answer has.
const maxAnswer = 64 << 10

func decode(res *http.Response, asked time.Time, issued string) (Token, error) {
	var a answer
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil || json.Unmarshal(body, &a) != nil {
		return Token{}, fmt.Errorf("%w: it answered %d without JSON", ErrAway, res.StatusCode)
	}
	switch {
	case res.StatusCode == http.StatusOK && a.AccessToken != "" && a.IssuedType == issued && a.ExpiresIn > 0:
		return Token{a.AccessToken, asked.Add(time.Duration(a.ExpiresIn) * time.Second)}, nil
	case a.Error == "unauthorized_client":
		return Token{}, fmt.Errorf("%w: it lacks the role %s", ErrClient, neededRole(issued))
	case res.StatusCode == http.StatusUnauthorized, a.Error == "invalid_client":
		return Token{}, ErrClient
	case res.StatusCode == http.StatusBadRequest && a.Error == "invalid_grant":
		return Token{}, ErrGrant
	case res.StatusCode == http.StatusBadRequest && knownErrors[a.Error]:
		return Token{}, fmt.Errorf("%w: %s", ErrRequest, a.Error)
	}
	return Token{}, fmt.Errorf("%w: it answered %d", ErrAway, res.StatusCode)
}

// neededRole is the one that a client's key needs for what is issued here.
func neededRole(issued string) string {
	if issued == TypeJobGrant {
		return "queue"
	}
	return "worker"
}

// knownErrors are those that may be shown: what else a server says goes into no log.
var knownErrors = map[string]bool{"invalid_request": true, "invalid_scope": true, "invalid_target": true, "unsupported_grant_type": true}
