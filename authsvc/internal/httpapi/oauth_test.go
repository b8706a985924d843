package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

// form sends a form to /oauth2.
func (s *system) form(path, authorization, body string) *httptest.ResponseRecorder {
	header := with("Content-Type", "application/x-www-form-urlencoded")
	if authorization != "" {
		header.Set("Authorization", authorization)
	}
	return request{method: "POST", path: path, body: body, header: header}.send(s)
}

func (p person) basic() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(p.APIKeys[0].ID+":"+p.APIKeys[0].Key))
}

// oauthCode reads an error of RFC 6749 and checks what holds for every one.
func oauthCode(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var e map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s %v: %v", w.Code, w.Body, w.Header(), err)
	}
	return e["error"]
}

func TestIntrospectionTellsCallersOfTheirOwn(t *testing.T) {
	s := newSystem(t)
	alice, bob := s.person("alice"), s.person("bob")
	for name, token := range map[string]string{"token": alice.AccessToken, "refresh token": alice.RefreshToken, "key": alice.APIKeys[1].Key} {
		for _, authorization := range []string{alice.basic(), alice.key()} {
			w := s.form("/oauth2/introspect", authorization, url.Values{"token": {token}, "token_type_hint": {"nonsense"}}.Encode())
			var found auth.Introspection
			if err := json.Unmarshal(w.Body.Bytes(), &found); err != nil || w.Code != 200 || !found.Active || found.Sub != alice.User.ID {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		}
		if w := s.form("/oauth2/introspect", bob.basic(), url.Values{"token": {token}}.Encode()); w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"active":false}` {
			t.Errorf("%s of another: %d %s", name, w.Code, w.Body)
		}
	}
	s.must(204, "POST", "/v1/logout", alice.bearer(), nil, nil)
	for _, token := range []string{alice.AccessToken, alice.RefreshToken, "nonsense", "a.b.c", strings.Repeat("x", 20000)} {
		if w := s.form("/oauth2/introspect", alice.basic(), url.Values{"token": {token}}.Encode()); w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"active":false}` {
			t.Errorf("inactive: %d %s", w.Code, w.Body)
		}
	}
}

func TestRevocationEndsTheSessionAndForgivesUnknownTokens(t *testing.T) {
	s := newSystem(t)
	alice := s.person("alice")
	w := s.form("/oauth2/revoke?wait=published&timeout=1s", alice.basic(), url.Values{"token": {alice.RefreshToken}, "token_type_hint": {"access_token"}}.Encode())
	if w.Code != 200 || w.Body.Len() != 0 || s.receipt(w).EventID == nil {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	if got := s.do("GET", "/v1/me", alice.bearer(), nil); got.Code != 401 {
		t.Errorf("access token of the revoked session: %d", got.Code)
	}
	for _, token := range []string{"nonsense", alice.RefreshToken, "a.b.c"} {
		if w := s.form("/oauth2/revoke", alice.key(), "token="+token); w.Code != 200 {
			t.Errorf("unknown token: %d %s", w.Code, w.Body)
		}
	}
	for _, query := range []string{"wait=", "timeout=&wait=none", "wait=fleet&timeout=30s"} { // as for calls of /v1
		oauth, v1 := s.form("/oauth2/revoke?"+query, alice.key(), "token=x"), s.do("POST", "/v1/admin/users/"+alice.User.ID+"/revoke?"+query, s.admin, nil)
		if oauth.Code != 200 || v1.Code != 200 {
			t.Errorf("%s: %d, %d", query, oauth.Code, v1.Code)
		}
	}
	for _, query := range []string{"wait=x", "wait=FLEET", "timeout=" + strings.Repeat("0", 17) + "s", "timeout=x", "timeout=1h", "token=x", "wait=none&wait=none", "a=%zz"} {
		if w := s.form("/oauth2/revoke?"+query, alice.key(), "token=x"); w.Code != 400 || oauthCode(t, w) != "invalid_request" {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

func TestTokenEndpointRefreshes(t *testing.T) {
	s := newSystem(t)
	alice := s.person("alice")
	good := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {alice.RefreshToken}}.Encode()
	w := s.form("/oauth2/token", "", good+"&client_id=tocsin&unknown=ignored&scope=")
	var tokens auth.Tokens
	if err := json.Unmarshal(w.Body.Bytes(), &tokens); err != nil || w.Code != 200 || tokens.TokenType != "Bearer" || tokens.RefreshToken == alice.RefreshToken || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for _, test := range []struct {
		name, authorization, body string
		status                    int
		code                      string
	}{
		{"no grant", "", "refresh_token=x", 400, "invalid_request"},
		{"other grant", "", "grant_type=password&username=a&password=b", 400, "unsupported_grant_type"},
		{"no token", "", "grant_type=refresh_token", 400, "invalid_request"},
		{"empty token", "", "grant_type=refresh_token&refresh_token=", 400, "invalid_request"},
		{"unknown token", "", "grant_type=refresh_token&refresh_token=tcr_x", 400, "invalid_grant"},
		{"an access token", "", "grant_type=refresh_token&refresh_token=" + alice.AccessToken, 400, "invalid_grant"},
		{"another client", alice.basic(), good, 400, "invalid_grant"},
		{"another client id", "", good + "&client_id=cars", 400, "invalid_grant"},
		{"a scope", "", good + "&scope=admin", 400, "invalid_scope"},
		{"repeated", "", good + "&grant_type=refresh_token", 400, "invalid_request"},
		{"broken", "", "grant_type=%zz", 400, "invalid_request"},
		{"NUL", "", "grant_type=refresh_token&refresh_token=%00", 400, "invalid_request"},
		{"invalid UTF-8", "", "grant_type=refresh_token&refresh_token=%ff", 400, "invalid_request"},
		{"too large", "", "grant_type=refresh_token&refresh_token=" + strings.Repeat("x", maxBody), 413, "invalid_request"},
	} {
		if w := s.form("/oauth2/token", test.authorization, test.body); w.Code != test.status || oauthCode(t, w) != test.code {
			t.Errorf("%s: %d %s", test.name, w.Code, w.Body)
		}
	}
}

func TestClientsOfOAuthAuthenticateInOneWay(t *testing.T) {
	s := newSystem(t)
	alice, bob := s.person("alice"), s.person("bob")
	swapped := "Basic " + base64.StdEncoding.EncodeToString([]byte(bob.APIKeys[0].ID+":"+alice.APIKeys[0].Key))
	for _, path := range []string{"/oauth2/introspect", "/oauth2/revoke", "/oauth2/token"} {
		for name, test := range map[string]struct {
			header http.Header
			body   string
			status int
			code   string
		}{
			"none":             {nil, "token=x", 401, "invalid_client"},
			"bearer":           {with("Authorization", alice.bearer()), "token=x", 401, "invalid_client"},
			"unknown scheme":   {with("Authorization", "Digest x"), "token=x", 401, "invalid_client"},
			"wrong key":        {with("Authorization", "Api-Key "+alice.APIKeys[0].Key+"x"), "token=x", 401, "invalid_client"},
			"another's id":     {with("Authorization", swapped), "token=x", 401, "invalid_client"},
			"not base64":       {with("Authorization", "Basic !"), "token=x", 401, "invalid_client"},
			"no id":            {with("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(":"+alice.APIKeys[0].Key))), "token=x", 401, "invalid_client"},
			"empty":            {with("Authorization", ""), "token=x", 400, "invalid_request"},
			"repeated":         {with("Authorization", alice.key(), "Authorization", alice.key()), "token=x", 400, "invalid_request"},
			"secret in body":   {with("Authorization", alice.basic()), "token=x&client_secret=y", 400, "invalid_request"},
			"other client_id":  {with("Authorization", alice.basic()), "token=x&client_id=y", 400, "invalid_request"},
			"no token":         {with("Authorization", alice.basic()), "", 400, "invalid_request"},
			"two tokens":       {with("Authorization", alice.basic()), "token=x&token=y", 400, "invalid_request"},
			"JSON":             {with("Authorization", alice.basic(), "Content-Type", "application/json"), `{"token":"x"}`, 415, "invalid_request"},
			"parameter in URL": {with("Authorization", alice.basic(), "X-Query", "token=x"), "token=x", 400, "invalid_request"},
		} {
			header, target := test.header.Clone(), path
			if header == nil {
				header = http.Header{}
			}
			if header.Get("Content-Type") == "" {
				header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			if q := header.Get("X-Query"); q != "" {
				target += "?" + q
			}
			body := test.body
			if path == "/oauth2/token" {
				body = "grant_type=" + url.QueryEscape(grantExchange) + "&" + body
			}
			w := request{method: "POST", path: target, body: body, header: header}.send(s)
			if w.Code != test.status || oauthCode(t, w) != test.code || (w.Code == 401) != (len(w.Header().Values("WWW-Authenticate")) == 2) {
				t.Errorf("%s: %s: %d %s %v", path, name, w.Code, w.Body, w.Header())
			}
		}
	}
}

func FuzzForm(f *testing.F) {
	for _, seed := range []string{"grant_type=refresh_token&refresh_token=x", "a=1&a=2", "a=%00", "a;b", "=&=", "%ff=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, refusal := parseForm(body)
		if (got == nil) == (refusal == nil) {
			t.Fatalf("%q: %v, %v", body, got, refusal)
		}
		for name, value := range got {
			if value == "" || strings.ContainsRune(value, 0) {
				t.Fatalf("%q: %s=%q", body, name, value)
			}
		}
	})
}
