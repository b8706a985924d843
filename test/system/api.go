package system

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
)

// API speaks HTTP with one service.
type API struct {
	Base string
}

var client = &http.Client{
	Timeout:   machine.Patience,
	Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256},
}

// CloseIdle ends the connections that the package keeps, so that a leak check finds nothing.
func CloseIdle() {
	client.CloseIdleConnections()
	http.DefaultClient.CloseIdleConnections()
}

// Answer is what a service said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Began  time.Time // just before the request was sent
}

// Code returns the stable code of a refusal, or the empty string.
func (a Answer) Code() string {
	var p struct {
		Code string `json:"code"`
	}
	json.Unmarshal(a.Body, &p)
	return p.Code
}

// OAuthError returns the error of RFC 6749 that an answer of /oauth2 is.
func (a Answer) OAuthError(t testing.TB) string {
	t.Helper()
	var e struct{ Error string }
	a.Into(t, &e)
	return e.Error
}

// Into decodes the body.
func (a Answer) Into(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("%v in %s", err, a.Body)
	}
}

// Receipt returns the decoded header of a call that ended or narrowed trust.
func (a Answer) Receipt(t testing.TB) Receipt {
	t.Helper()
	var r Receipt
	if err := json.Unmarshal([]byte(a.Header.Get("Tocsin-Receipt")), &r); err != nil {
		t.Fatalf("%v in receipt %q of %d %s", err, a.Header.Get("Tocsin-Receipt"), a.Status, a.Body)
	}
	return r
}

// Receipt mirrors the contract.
type Receipt struct {
	EventID   *string `json:"event_id"`
	Epoch     *string `json:"epoch"`
	Seq       *uint64 `json:"seq"`
	Published bool    `json:"published"`
	Fleet     *struct {
		Applied  int   `json:"applied"`
		Total    *int  `json:"total"`
		Laggards []any `json:"laggards"`
	} `json:"fleet"`
	ElapsedMS float64 `json:"elapsed_ms"`
}

// Bearer and Key make the value of an Authorization header.
func Bearer(token string) string { return "Bearer " + token }
func Key(key string) string      { return "Api-Key " + key }

// Try sends one request; body, when not nil, goes as JSON, or as a form when it is url.Values. It fails only when there
// is no answer.
func (a API) Try(ctx context.Context, method, path, authorization string, body any) (Answer, error) {
	content, contentType, err := encode(body)
	if err != nil {
		return Answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, method, a.Base+path, bytes.NewReader(content))
	if err != nil {
		return Answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	began := time.Now()
	res, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return Answer{Status: res.StatusCode, Header: res.Header, Body: got, Began: began}, err
}

func encode(body any) (content []byte, contentType string, err error) {
	switch body := body.(type) {
	case nil:
		return nil, "", nil
	case url.Values:
		return []byte(body.Encode()), "application/x-www-form-urlencoded", nil
	default:
		content, err = json.Marshal(body)
		return content, "application/json", err
	}
}

// Do is Try in a test that can't go on without an answer. That a service can't do or decide something now is no answer of one
// that didn't get to run: while the machine stood still it is asked again.
func (a API) Do(t testing.TB, method, path, authorization string, body any) Answer {
	t.Helper()
	for began := time.Now(); ; {
		beat := machine.Listen()
		got, err := a.Try(t.Context(), method, path, authorization, body)
		stood := beat.Stop()
		if err != nil {
			t.Fatal(err)
		}
		if got.Status != http.StatusServiceUnavailable || stood < machine.Stall || time.Since(began) > machine.Patience {
			return got
		}
		t.Logf("again, as the machine stood still for %v: %s %s: %v", stood.Round(time.Millisecond), method, path, got)
	}
}

// Must is Do for a call that has to answer with this status.
func (a API) Must(t testing.TB, status int, method, path, authorization string, body any) Answer {
	t.Helper()
	got := a.Do(t, method, path, authorization, body)
	if got.Status != status {
		t.Fatalf("%s %s: %d %s, want %d", method, path, got.Status, got.Body, status)
	}
	return got
}

// User is a registered and logged-in user.
type User struct {
	ID, Name, Password           string
	Token, RefreshToken, Session string
	LiveKey, LiveKeyID, TestKey  string
}

// Auth returns the user's Authorization header.
func (u User) Auth() string { return Bearer(u.Token) }

// Register makes a user and logs in.
func (a *Auth) Register(t testing.TB, name string) User {
	t.Helper()
	u := User{Name: name, Password: "a long enough passphrase " + name}
	var made struct {
		User struct {
			ID string `json:"id"`
		} `json:"user"`
		APIKeys []struct {
			ID, Mode, Key string
		} `json:"api_keys"`
	}
	a.Must(t, 201, "POST", "/v1/register", "", map[string]string{"username": name, "password": u.Password}).Into(t, &made)
	u.ID = made.User.ID
	for _, k := range made.APIKeys {
		if k.Mode == "live" {
			u.LiveKey, u.LiveKeyID = k.Key, k.ID
		} else {
			u.TestKey = k.Key
		}
	}
	a.Login(t, &u)
	return u
}

// Login starts a new session and remembers it in u.
func (a *Auth) Login(t testing.TB, u *User) {
	t.Helper()
	var s struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
		SessionID    string `json:"session_id"`
	}
	a.Must(t, 200, "POST", "/v1/login", "", map[string]string{"username": u.Name, "password": u.Password}).Into(t, &s)
	u.Token, u.RefreshToken, u.Session = s.AccessToken, s.RefreshToken, s.SessionID
}

// Admin logs the bootstrap admin in.
func (a *Auth) Admin(t testing.TB) User {
	t.Helper()
	u := User{Name: "admin", Password: AdminPassword}
	a.Login(t, &u)
	return u
}

// Eventually polls until the answer satisfies want, and returns that.
func (a API) Eventually(t testing.TB, method, path, authorization string, want func(Answer) bool) Answer {
	t.Helper()
	for start := time.Now(); ; {
		got, err := a.Try(t.Context(), method, path, authorization, nil)
		switch {
		case err != nil:
			t.Fatal(err)
		case want(got):
			return got
		case time.Since(start) > machine.Patience:
			t.Fatalf("%s %s still %v", method, path, got)
		}
	}
}

// Status makes a condition for Eventually; an empty code matches any.
func Status(status int, code string) func(Answer) bool {
	return func(a Answer) bool { return a.Status == status && (code == "" || a.Code() == code) }
}

// String is for messages of failing tests.
func (a Answer) String() string { return fmt.Sprintf("%d %s", a.Status, a.Body) }
