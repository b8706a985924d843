package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// client calls authsvc with the caller's credential.
type client struct {
	base string
	http *http.Client
}

// answer is what a call returned: the body as it came, and the receipt of calls that end trust.
type answer struct {
	body    json.RawMessage
	receipt json.RawMessage
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 8 << 20

func newClient(base string, timeout time.Duration) (*client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: --url must be https://host[:port]", errUsage)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return nil, fmt.Errorf("%w: --url must be https, except for this machine: credentials would be readable on the way", errUsage)
	}
	c := &http.Client{Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a redirect would take the credential elsewhere
	}}
	return &client{base: strings.TrimSuffix(base, "/"), http: c}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// call sends one request with the kept or given credential, and renews a kept session that has expired once.
func (c *client) call(ctx context.Context, method, path string, in any) (answer, error) {
	cred, err := loadCredential(c.base)
	if err != nil {
		return answer{}, err
	}
	a, err := c.send(ctx, method, path, cred.AccessToken, in)
	var refused *apiError
	if cred.RefreshToken == "" || !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
		return a, err
	}
	if cred, err = c.refresh(ctx, cred); err != nil {
		return answer{}, err
	}
	return c.send(ctx, method, path, cred.AccessToken, in)
}

func (c *client) refresh(ctx context.Context, old credential) (credential, error) {
	a, err := c.send(ctx, "POST", "/v1/token/refresh", "", map[string]string{"refresh_token": old.RefreshToken})
	var refused *apiError
	if errors.As(err, &refused) && refused.Status == http.StatusUnauthorized {
		return credential{}, errors.New("the session has ended: authctl login")
	}
	if err != nil {
		return credential{}, err
	}
	var renewed credential
	if err := json.Unmarshal(a.body, &renewed); err != nil {
		return credential{}, fmt.Errorf("read the renewed session: %w", err)
	}
	return renewed, saveCredential(c.base, renewed)
}

func (c *client) send(ctx context.Context, method, path, token string, in any) (answer, error) {
	req, err := newRequest(ctx, method, c.base+path, in)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return answer{}, asAPIError(res, body)
	}
	return answer{body: bytes.TrimSpace(body), receipt: json.RawMessage(res.Header.Get("Tocsin-Receipt"))}, nil
}

func newRequest(ctx context.Context, method, target string, in any) (*http.Request, error) {
	if in == nil {
		return http.NewRequestWithContext(ctx, method, target, nil)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return req, nil
}

// apiError is a refusal of authsvc (RFC 9457).
type apiError struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Errors []struct {
		Field    string `json:"field"`
		Location string `json:"location"`
		Message  string `json:"message"`
	} `json:"errors"`
}

func (e *apiError) Error() string {
	text := e.Code
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	for _, f := range e.Errors {
		text += fmt.Sprintf("; %s %s", f.Field+f.Location, f.Message)
	}
	return text
}

func asAPIError(res *http.Response, body []byte) error {
	e := &apiError{}
	if json.Unmarshal(body, e) != nil || e.Code == "" {
		e.Code = "unexpected answer: " + res.Status
	}
	e.Status = res.StatusCode
	if e.Status == http.StatusUnauthorized && e.Code == "unauthenticated" {
		e.Detail += " (authctl login)"
	}
	return e
}
