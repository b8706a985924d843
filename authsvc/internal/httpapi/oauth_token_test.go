package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

// asks makes a form of pairs of names and values.
func asks(pairs ...string) string {
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return form.Encode()
}

func exchangeOf(subject string, kind auth.TokenType, more ...string) string {
	return asks(append([]string{"grant_type", grantExchange, "subject_token", subject, "subject_token_type", string(kind)}, more...)...)
}

var wantsGrant = []string{"requested_token_type", string(auth.TypeJobGrant), "job_id", "job-1"}

// issuedBy asks for a token and checks what holds for every answer.
func (s *system) issuedBy(t *testing.T, authorization, body string) auth.DerivedToken {
	t.Helper()
	w := s.form("/oauth2/token", authorization, body)
	var d auth.DerivedToken
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Pragma") != "no-cache" {
		t.Fatalf("%d %s %v: %v", w.Code, w.Body, w.Header(), err)
	}
	return d
}

// claimsOf reads the payload of a token.
func claimsOf(t *testing.T, token string) (c struct {
	Sub, Jti string
	Roles    []string
	Act      struct{ Sub string }
}) {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err == nil {
		err = json.Unmarshal(payload, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAWorkerExchangesAJobGrant(t *testing.T) {
	s := newSystem(t)
	alice, worker := s.person("alice"), s.worker()
	grant := s.issuedBy(t, worker.basic(), exchangeOf(alice.AccessToken, auth.TypeAccessToken, wantsGrant...))
	if grant.IssuedTokenType != auth.TypeJobGrant || grant.TokenType != "N_A" {
		t.Errorf("%+v", grant)
	}
	token := s.issuedBy(t, worker.key(), exchangeOf(grant.AccessToken, auth.TypeJobGrant, "job_id", "job-1", "audience", "tocsin", "resource", "tocsin"))
	c := claimsOf(t, token.AccessToken)
	if token.IssuedTokenType != auth.TypeAccessToken || token.TokenType != "Bearer" || c.Sub != alice.User.ID || c.Act.Sub != worker.User.ID {
		t.Errorf("%+v, %+v", token, c)
	}
	for _, credential := range []string{grant.AccessToken, token.AccessToken} {
		if w := s.do("GET", "/v1/me", "Bearer "+credential, nil); w.Code != 401 {
			t.Errorf("a caller of /v1: %d %s", w.Code, w.Body)
		}
	}
	for _, credential := range []string{grant.AccessToken, token.AccessToken} {
		w := s.form("/oauth2/introspect", alice.basic(), asks("token", credential))
		var found auth.Introspection
		if err := json.Unmarshal(w.Body.Bytes(), &found); err != nil || !found.Active || found.Sub != alice.User.ID {
			t.Errorf("introspection: %s", w.Body)
		}
	}
	if w := s.form("/oauth2/revoke", worker.basic(), asks("token", grant.AccessToken)); w.Code != 200 || s.receipt(w).EventID == nil {
		t.Errorf("revocation: %d %s", w.Code, w.Body)
	}
	for _, credential := range []string{grant.AccessToken, token.AccessToken} {
		if w := s.form("/oauth2/introspect", alice.basic(), asks("token", credential)); strings.TrimSpace(w.Body.String()) != `{"active":false}` {
			t.Errorf("after the revocation: %s", w.Body)
		}
	}
	if w := s.form("/oauth2/token", worker.key(), exchangeOf(grant.AccessToken, auth.TypeJobGrant, "job_id", "job-1")); w.Code != 400 || oauthCode(t, w) != "invalid_grant" {
		t.Errorf("the dead grant: %d %s", w.Code, w.Body)
	}
}

func TestTheSameJobOfTwoUsersStaysTwoJobs(t *testing.T) {
	s := newSystem(t)
	worker := s.worker()
	for _, name := range []string{"alice", "bob"} {
		p := s.person(name)
		grant := s.issuedBy(t, worker.basic(), exchangeOf(p.AccessToken, auth.TypeAccessToken, wantsGrant...))
		token := s.issuedBy(t, worker.basic(), exchangeOf(grant.AccessToken, auth.TypeJobGrant, "job_id", "job-1"))
		if c := claimsOf(t, token.AccessToken); c.Sub != p.User.ID {
			t.Errorf("%s's job is %s's", p.User.ID, c.Sub)
		}
	}
}

// setRoles gives roles to a person's user.
func (s *system) setRoles(p person, roles ...string) {
	s.must(200, "PUT", "/v1/admin/users/"+p.User.ID+"/roles", s.admin, map[string]any{"roles": roles}, nil)
}

// worker is a person who may make job grants and use them.
func (s *system) worker() person {
	s.t.Helper()
	p := s.person("worker")
	s.setRoles(p, "user", "queue", "worker")
	return p
}

func TestADelegateActsForAnyoneButAdmins(t *testing.T) {
	s := newSystem(t)
	alice, boss, worker := s.person("alice"), s.person("boss"), s.person("worker")
	s.setRoles(boss, "admin", "user")
	ask := func(subject string, more ...string) (int, string) {
		w := s.form("/oauth2/token", worker.key(), exchangeOf(subject, auth.TypeUserID, more...))
		if w.Code == 200 {
			return w.Code, claimsOf(t, s.issuedBy(t, worker.key(), exchangeOf(subject, auth.TypeUserID, more...)).AccessToken).Sub
		}
		return w.Code, oauthCode(t, w)
	}
	if status, code := ask(alice.User.ID); status != 400 || code != "unauthorized_client" {
		t.Errorf("without the role: %d %s", status, code)
	}
	s.setRoles(worker, "delegate", "user", "admin")
	if status, sub := ask(alice.User.ID); status != 200 || sub != alice.User.ID {
		t.Errorf("with it: %d %s", status, sub)
	}
	const nobody = "01890000-0000-7000-8000-00000000dead"
	for name, test := range map[string]struct {
		subject, code string
		more          []string
	}{
		"an admin":             {boss.User.ID, "invalid_request", nil},
		"nobody":               {nobody, "invalid_request", nil},
		"a name":               {"alice", "invalid_request", nil},
		"the role admin":       {alice.User.ID, "invalid_scope", []string{"scope", "user admin"}},
		"a role of the client": {alice.User.ID, "invalid_scope", []string{"scope", "delegate"}},
		"a job grant":          {alice.User.ID, "invalid_request", wantsGrant},
	} {
		if status, code := ask(test.subject, test.more...); status != 400 || code != test.code {
			t.Errorf("%s: %d %s", name, status, code)
		}
	}
	s.must(200, "PUT", "/v1/admin/users/"+alice.User.ID+"/status", s.admin, map[string]any{"disabled": true}, nil)
	if status, code := ask(alice.User.ID); status != 400 || code != "invalid_request" {
		t.Errorf("a disabled user: %d %s", status, code)
	}
}

func TestExchangesThatAreRefused(t *testing.T) {
	s := newSystem(t)
	alice, bob, worker := s.person("alice"), s.person("bob"), s.worker()
	test := worker
	test.APIKeys = slices.Clone(worker.APIKeys)
	slices.Reverse(test.APIKeys) // the test key first
	grant := s.issuedBy(t, worker.basic(), exchangeOf(alice.AccessToken, auth.TypeAccessToken, wantsGrant...)).AccessToken
	derived := s.issuedBy(t, worker.basic(), exchangeOf(alice.AccessToken, auth.TypeAccessToken)).AccessToken
	own := s.issuedBy(t, alice.basic(), "grant_type=client_credentials").AccessToken
	ofToken := func(more ...string) string { return exchangeOf(alice.AccessToken, auth.TypeAccessToken, more...) }
	ofGrant := func(token string, more ...string) string { return exchangeOf(token, auth.TypeJobGrant, more...) }
	forged := grant[:strings.LastIndex(grant, ".")+1] + bob.AccessToken[strings.LastIndex(bob.AccessToken, ".")+1:]
	for _, c := range []struct {
		name, authorization, body, code string
	}{
		{"no client", "", ofToken(), "invalid_client"},
		{"a user as the client", alice.bearer(), ofToken(), "invalid_client"},
		{"no subject", worker.basic(), asks("grant_type", grantExchange, "subject_token_type", string(auth.TypeAccessToken)), "invalid_request"},
		{"no type", worker.basic(), asks("grant_type", grantExchange, "subject_token", alice.AccessToken), "invalid_request"},
		{"an unknown type", worker.basic(), exchangeOf(alice.AccessToken, "urn:ietf:params:oauth:token-type:saml2"), "invalid_request"},
		{"a JWT of any kind", worker.basic(), exchangeOf(alice.AccessToken, "urn:ietf:params:oauth:token-type:jwt"), "invalid_request"},
		{"nonsense", worker.basic(), exchangeOf("nonsense", auth.TypeAccessToken), "invalid_request"},
		{"a refresh token", worker.basic(), exchangeOf(alice.RefreshToken, auth.TypeAccessToken), "invalid_request"},
		{"an actor token", worker.basic(), ofToken("actor_token", bob.AccessToken, "actor_token_type", string(auth.TypeAccessToken)), "invalid_request"},
		{"a chain", worker.basic(), exchangeOf(derived, auth.TypeAccessToken), "invalid_request"},
		{"a chain from a key's own token", worker.basic(), exchangeOf(own, auth.TypeAccessToken), "invalid_request"},
		{"a chain by a grant", worker.basic(), exchangeOf(derived, auth.TypeAccessToken, wantsGrant...), "invalid_request"},
		{"a grant of a grant", worker.basic(), ofGrant(grant, wantsGrant...), "invalid_request"},
		{"an unknown token wanted", worker.basic(), ofToken("requested_token_type", "urn:ietf:params:oauth:token-type:id_token"), "invalid_request"},
		{"a refresh token wanted", worker.basic(), ofToken("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"), "invalid_request"},
		{"another audience", worker.basic(), ofToken("audience", "cars"), "invalid_target"},
		{"another resource", worker.basic(), ofToken("resource", "https://cars.test"), "invalid_target"},
		{"another audience for a grant", worker.basic(), ofToken(append(wantsGrant, "audience", "cars")...), "invalid_target"},
		{"another audience of one's own", worker.basic(), "grant_type=client_credentials&audience=cars", "invalid_target"},
		{"a role that nobody has", worker.basic(), ofToken("scope", "editor"), "invalid_scope"},
		{"a role more", worker.basic(), ofToken("scope", "user admin"), "invalid_scope"},
		{"a role of one's own more", worker.basic(), "grant_type=client_credentials&scope=user+admin", "invalid_scope"},
		{"a bad scope", worker.basic(), ofToken("scope", "user  "), "invalid_scope"},
		{"a key for a token", worker.basic(), exchangeOf(alice.APIKeys[0].Key, auth.TypeAPIKey), "invalid_request"},
		{"a key as a token", worker.basic(), exchangeOf(alice.APIKeys[0].Key, auth.TypeAccessToken), "invalid_request"},
		{"a key that is none", worker.basic(), exchangeOf(alice.APIKeys[0].Key[1:], auth.TypeAPIKey, wantsGrant...), "invalid_request"},
		{"a grant without a job", worker.basic(), ofToken("requested_token_type", string(auth.TypeJobGrant)), "invalid_request"},
		{"a job that is no text", worker.basic(), ofToken("requested_token_type", string(auth.TypeJobGrant), "job_id", strings.Repeat("j", 257)), "invalid_request"},
		{"a job without a grant", worker.basic(), ofToken("job_id", "job-1"), "invalid_request"},
		{"a grant of another job", worker.basic(), ofGrant(grant, "job_id", "job-2"), "invalid_request"},
		{"a grant without its job", worker.basic(), ofGrant(grant), "invalid_request"},
		{"a grant as a token", worker.basic(), exchangeOf(grant, auth.TypeAccessToken), "invalid_request"},
		{"a token as a grant", worker.basic(), ofGrant(alice.AccessToken, "job_id", "job-1"), "invalid_request"},
		{"nonsense as a grant", worker.basic(), ofGrant("a.b.c", "job_id", "job-1"), "invalid_request"},
		{"a forged grant", worker.basic(), ofGrant(forged, "job_id", "job-1"), "invalid_grant"},
		{"live for test", test.basic(), ofToken(), "invalid_request"},
		{"a live grant for test", test.basic(), ofGrant(grant, "job_id", "job-1"), "invalid_request"},
		{"test for live", worker.basic(), exchangeOf(alice.APIKeys[1].Key, auth.TypeAPIKey, wantsGrant...), "invalid_request"},
		{"a grant by anybody", bob.basic(), ofGrant(grant, "job_id", "job-1"), "unauthorized_client"},
		{"a grant for anybody", bob.basic(), exchangeOf(alice.AccessToken, auth.TypeAccessToken, wantsGrant...), "unauthorized_client"},
		{"a grant twice", worker.basic(), ofGrant(grant, "job_id", "job-1") + "&grant_type=client_credentials", "invalid_request"},
		{"two subjects", worker.basic(), ofToken() + "&" + asks("subject_token", bob.AccessToken), "invalid_request"},
		{"two audiences", worker.basic(), ofToken("audience", "tocsin") + "&audience=tocsin", "invalid_request"},
		{"two scopes", worker.basic(), ofToken("scope", "user") + "&scope=user", "invalid_request"},
	} {
		w := s.form("/oauth2/token", c.authorization, c.body)
		if got := oauthCode(t, w); got != c.code || (w.Code == 401) != (c.code == "invalid_client") || w.Code != 400 && w.Code != 401 {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
		for _, secret := range []string{alice.AccessToken, grant, derived, alice.APIKeys[0].Key} {
			if strings.Contains(w.Body.String(), secret) {
				t.Errorf("%s: the answer holds what was sent: %s", c.name, w.Body)
			}
		}
	}
	if w := s.form("/oauth2/token", worker.key(), ofToken("client_id", worker.APIKeys[0].ID, "unknown", "ignored", "scope", "user", "actor_token", "")); w.Code != 200 {
		t.Errorf("a good one: %d %s", w.Code, w.Body)
	}
}

func TestAKeyThatEndsTakesItsTokensAlong(t *testing.T) {
	s := newSystem(t)
	alice := s.person("alice")
	token := s.issuedBy(t, alice.basic(), asks("grant_type", grantClientCredentials, "scope", "user"))
	if token.ExpiresIn != int64((5*time.Minute).Seconds()) || token.Scope != "user" {
		t.Errorf("%+v", token)
	}
	s.must(204, "DELETE", "/v1/me/api-keys/"+alice.APIKeys[0].ID, alice.bearer(), nil, nil)
	if w := s.form("/oauth2/token", alice.basic(), "grant_type=client_credentials"); w.Code != 401 || oauthCode(t, w) != "invalid_client" {
		t.Errorf("the dead key: %d %s", w.Code, w.Body)
	}
	other := alice
	other.APIKeys = alice.APIKeys[1:]
	if w := s.form("/oauth2/introspect", other.basic(), asks("token", token.AccessToken)); strings.TrimSpace(w.Body.String()) != `{"active":false}` {
		t.Errorf("its token: %s", w.Body)
	}
}

// A token is a commit, and everybody may register: one user can't keep the database busy. Workers are given their role by an admin.
func TestTokensForKeysWithoutARoleAreThrottled(t *testing.T) {
	s := newSystem(t)
	now := time.Now()
	s.now = func() time.Time { return now }
	bob, worker := s.person("bob"), s.worker()
	for range issuingBurst {
		s.issuedBy(t, bob.basic(), "grant_type=client_credentials")
		s.issuedBy(t, worker.basic(), "grant_type=client_credentials")
	}
	w := s.form("/oauth2/token", bob.key(), "grant_type=client_credentials")
	if got := oauthCode(t, w); w.Code != 429 || got != "temporarily_unavailable" || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s %q", w.Code, got, w.Header())
	}
	s.issuedBy(t, worker.basic(), "grant_type=client_credentials")
	now = now.Add(issuingInterval)
	s.issuedBy(t, bob.basic(), "grant_type=client_credentials")
}
