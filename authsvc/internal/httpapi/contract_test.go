package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
)

func TestAccountsAndSessions(t *testing.T) {
	s := newSystem(t)
	alice := s.person("alice")
	if alice.User.Username != "alice" || !slices.Equal(alice.User.Roles, []string{"user"}) || alice.User.Plan != "free" || alice.User.Disabled {
		t.Errorf("user: %+v", alice.User)
	}
	if len(alice.APIKeys) != 2 || alice.APIKeys[0].Mode != "live" || alice.APIKeys[1].Mode != "test" {
		t.Fatalf("keys: %+v", alice.APIKeys)
	}
	for _, k := range alice.APIKeys {
		if mode, err := apikey.Parse(k.Key); err != nil || mode != k.Mode {
			t.Errorf("key %s: %v", k.Mode, err)
		}
	}
	if got := s.do("POST", "/v1/register", "", map[string]string{"username": "ALICE", "password": userPassword}); got.Code != 409 || code(t, got) != "username_taken" {
		t.Errorf("taken name: %d %s", got.Code, got.Body)
	}
	if got := s.do("POST", "/v1/register", "", map[string]string{"username": "weak", "password": "password1234"}); got.Code != 400 || code(t, got) != "weak_password" {
		t.Errorf("weak password: %d %s", got.Code, got.Body)
	}
	for _, who := range []string{"alice", "nobody"} {
		got := s.do("POST", "/v1/login", "", map[string]string{"username": who, "password": "not the password"})
		if got.Code != 401 || code(t, got) != "invalid_credentials" || got.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("wrong password of %s: %d %s", who, got.Code, got.Body)
		}
	}

	var mine me
	s.must(200, "GET", "/v1/me", alice.bearer(), nil, &mine)
	if mine.ID != alice.User.ID || mine.Method != "bearer" || mine.SessionID != alice.SessionID || mine.Mode != "live" || !slices.Equal(mine.AMR, []string{"pwd"}) {
		t.Errorf("me: %+v", mine)
	}
	s.must(200, "GET", "/v1/me", alice.key(), nil, &mine)
	if mine.Method != "api_key" || mine.KeyID != alice.APIKeys[0].ID {
		t.Errorf("me by key: %+v", mine)
	}

	var renewed, again auth.Tokens
	s.must(200, "POST", "/v1/token/refresh", "", map[string]string{"refresh_token": alice.RefreshToken}, &renewed)
	s.must(200, "POST", "/v1/token/refresh", "", map[string]string{"refresh_token": alice.RefreshToken}, &again)
	if renewed.RefreshToken == alice.RefreshToken || again.RefreshToken != renewed.RefreshToken {
		t.Error("a lost answer doesn't give the same successor again")
	}
	if got := s.do("POST", "/v1/token/refresh", "", map[string]string{"refresh_token": "tcr_unknown"}); got.Code != 401 || code(t, got) != "invalid_refresh_token" {
		t.Errorf("unknown refresh token: %d %s", got.Code, got.Body)
	}

	other := s.login("alice", userPassword)
	var sessions auth.Page[auth.Session]
	s.must(200, "GET", "/v1/me/sessions?limit=10", alice.bearer(), nil, &sessions)
	if len(sessions.Items) != 2 {
		t.Fatalf("sessions: %+v", sessions)
	}
	w := s.must(204, "DELETE", "/v1/me/sessions/"+other.SessionID+"?wait=none", alice.bearer(), nil, nil)
	if r := s.receipt(w); r.EventID == nil || r.Published || r.Fleet != nil {
		t.Errorf("receipt: %+v", r)
	}
	if got := s.do("GET", "/v1/me", "Bearer "+other.AccessToken, nil); got.Code != 401 || code(t, got) != "unauthenticated" ||
		!slices.Equal(got.Header().Values("WWW-Authenticate"), []string{`Bearer realm="tocsin", error="invalid_token"`, `Api-Key realm="tocsin"`}) {
		t.Errorf("ended session: %d %v", got.Code, got.Header())
	}
	s.must(204, "POST", "/v1/me/password", alice.bearer(), map[string]string{"current": userPassword, "new": "another long passphrase"}, nil)
	s.must(204, "POST", "/v1/logout", alice.bearer(), nil, nil)
	if got := s.do("GET", "/v1/me", alice.bearer(), nil); got.Code != 401 {
		t.Errorf("after logout: %d", got.Code)
	}
	last := s.login("alice", "another long passphrase")
	if r := s.receipt(s.must(204, "POST", "/v1/logout/all?wait=fleet&timeout=1s", "Bearer "+last.AccessToken, nil, nil)); r.Fleet == nil || len(r.Fleet.Laggards) != 1 {
		t.Errorf("receipt of the fleet: %+v", r)
	}
	s.must(200, "GET", "/v1/me", alice.key(), nil, nil)
}

func TestAPIKeysOfTheCaller(t *testing.T) {
	s := newSystem(t)
	alice, bob := s.person("alice"), s.person("bob")
	var made createdKey
	s.must(201, "POST", "/v1/me/api-keys", alice.bearer(), map[string]any{"name": "ci", "mode": "live", "expires_at": "2099-01-01T00:00:00Z", "scopes": []string{"user"}}, &made)
	if made.APIKey.Key == "" || made.APIKey.ExpiresAt == nil {
		t.Fatalf("key: %+v", made)
	}
	w := s.must(200, "GET", "/v1/me/api-keys", alice.bearer(), nil, nil)
	if strings.Contains(w.Body.String(), made.APIKey.Key) || strings.Contains(w.Body.String(), `"key"`) {
		t.Error("the list holds a secret")
	}
	for _, at := range []string{"2099-02-30T00:00:00Z", "tomorrow", "2099-01-01"} {
		got := s.do("POST", "/v1/me/api-keys", alice.bearer(), map[string]any{"name": "ci", "mode": "live", "expires_at": at})
		if got.Code != 400 || code(t, got) != "invalid_request" || strings.Contains(got.Body.String(), at) {
			t.Errorf("expires_at %s: %d %s", at, got.Code, got.Body)
		}
	}
	path := "/v1/me/api-keys/" + made.APIKey.ID
	var key auth.APIKey
	w = s.must(200, "PATCH", path, alice.bearer(), map[string]any{"disabled": true, "name": "old ci"}, &key)
	if !key.Disabled || key.Name != "old ci" || s.receipt(w).EventID == nil {
		t.Errorf("suspended: %+v", key)
	}
	if got := s.do("GET", "/v1/me", "Api-Key "+made.APIKey.Key, nil); got.Code != 401 {
		t.Errorf("suspended key: %d", got.Code)
	}
	if r := s.receipt(s.must(200, "PATCH", path, alice.bearer(), map[string]any{"disabled": true}, nil)); r.EventID != nil {
		t.Errorf("nothing changed, but event %s", *r.EventID)
	}
	s.must(200, "PATCH", path, alice.bearer(), map[string]any{"disabled": false}, nil)
	var rotated rotatedKey
	s.must(200, "POST", path+"/rotate", alice.bearer(), map[string]any{"overlap": "0s"}, &rotated)
	if rotated.Previous.ID != made.APIKey.ID || rotated.APIKey.Key == made.APIKey.Key {
		t.Errorf("rotated: %+v", rotated)
	}
	s.must(200, "POST", "/v1/me/api-keys/"+rotated.APIKey.ID+"/rotate", alice.bearer(), nil, &rotated)
	for _, call := range []struct{ method, path string }{{"PATCH", ""}, {"DELETE", ""}, {"POST", "/rotate"}} {
		got := s.do(call.method, "/v1/me/api-keys/"+rotated.APIKey.ID+call.path, bob.bearer(), map[string]any{})
		if got.Code != 404 {
			t.Errorf("%s of another's key: %d %s", call.method, got.Code, got.Body)
		}
	}
	s.must(204, "DELETE", "/v1/me/api-keys/"+rotated.APIKey.ID, alice.bearer(), nil, nil)
}

func TestAdministration(t *testing.T) {
	s := newSystem(t)
	alice, bob := s.person("alice"), s.person("bob")
	for _, path := range []string{"/v1/admin/users", "/v1/admin/audit", "/v1/admin/verifiers", "/v1/admin/revocations", "/v1/admin/services", "/v1/admin/api-keys"} {
		got := s.do("GET", path, alice.bearer(), nil)
		if got.Code != 403 || code(t, got) != "forbidden" || got.Header().Get("WWW-Authenticate") != `Bearer realm="tocsin", error="insufficient_scope", scope="admin"` {
			t.Errorf("%s as a user: %d %s %v", path, got.Code, got.Body, got.Header())
		}
		if got := s.must(200, "GET", path, s.admin, nil, nil); !strings.HasPrefix(got.Body.String(), `{"items":[`) {
			t.Errorf("%s: %s", path, got.Body)
		}
	}
	one := "/v1/admin/users/" + alice.User.ID
	var user auth.User
	s.must(200, "GET", one, s.admin, nil, &user)
	s.must(200, "PUT", one+"/roles", s.admin, map[string]any{"roles": []string{"user", "directory"}}, &user)
	s.must(200, "PUT", one+"/plan", s.admin, map[string]any{"plan": "gold"}, &user)
	if user.Plan != "gold" || !slices.Contains(user.Roles, "directory") {
		t.Errorf("user: %+v", user)
	}
	var entry auth.DirectoryEntry
	s.must(200, "GET", "/v1/users/"+bob.User.ID, alice.key(), nil, &entry)
	if entry.Email != "bob@example.com" {
		t.Errorf("directory: %+v", entry)
	}
	if got := s.do("GET", "/v1/users/"+alice.User.ID, bob.bearer(), nil); got.Code != 403 {
		t.Errorf("directory without the role: %d", got.Code)
	}
	s.must(200, "PUT", one+"/status", s.admin, map[string]any{"disabled": true}, &user)
	if got := s.do("GET", "/v1/me", alice.key(), nil); got.Code != 401 {
		t.Errorf("key of a disabled user: %d", got.Code)
	}
	s.must(200, "PUT", one+"/status", s.admin, map[string]any{"disabled": false}, nil)

	var page auth.Page[auth.User]
	s.must(200, "GET", "/v1/admin/users?limit=2", s.admin, nil, &page)
	if len(page.Items) != 2 || page.NextCursor == "" {
		t.Fatalf("page: %+v", page)
	}
	s.must(200, "GET", "/v1/admin/users?limit=2&cursor="+page.NextCursor, s.admin, nil, &page)
	if len(page.Items) != 1 {
		t.Errorf("second page: %+v", page)
	}
	s.must(200, "GET", "/v1/admin/api-keys?expiring=24h&user="+bob.User.ID, s.admin, nil, nil)

	var self me
	s.must(200, "GET", "/v1/me", s.admin, nil, &self)
	for _, last := range []*httptest.ResponseRecorder{
		s.do("DELETE", "/v1/admin/users/"+self.ID, s.admin, nil),
		s.do("PUT", "/v1/admin/users/"+self.ID+"/roles", s.admin, map[string]any{"roles": []string{"user"}}),
		s.do("PUT", "/v1/admin/users/"+self.ID+"/status", s.admin, map[string]any{"disabled": true}),
	} {
		if last.Code != 409 || code(t, last) != "last_admin" {
			t.Errorf("last admin: %d %s", last.Code, last.Body)
		}
	}
	var added auth.AddedService
	s.must(201, "POST", "/v1/admin/services", s.admin, map[string]any{"name": "cars"}, &added)
	if added.Seed == "" || added.Name != "cars" {
		t.Errorf("service: %+v", added)
	}
	if got := s.do("POST", "/v1/admin/services", s.admin, map[string]any{"name": "cars"}); got.Code != 409 {
		t.Errorf("service twice: %d", got.Code)
	}
	s.must(204, "DELETE", "/v1/admin/services/cars", s.admin, nil, nil)
	var kid rotatedSigningKey
	s.must(200, "POST", "/v1/admin/signing-keys/rotate", s.admin, nil, &kid)
	if kid.KID == "" {
		t.Error("no kid")
	}
	var feedKey auth.FeedKey
	s.must(200, "POST", "/v1/admin/feed-keys/rotate", s.admin, nil, &feedKey)
	if wait := time.Until(feedKey.SignsAt); feedKey.KID == "" || wait < 9*time.Minute || wait > 10*time.Minute {
		t.Errorf("feed key: %+v", feedKey)
	}
	if got := s.do("POST", "/v1/admin/feed-keys/rotate", s.admin, map[string]any{"ahead": "24h"}); got.Code != 409 || code(t, got) != "conflict" {
		t.Errorf("a second feed key: %d %s", got.Code, got.Body)
	}
	for _, bad := range []map[string]any{{"ahead": "soon"}, {"ahead": "-1s"}, {"ahead": "2161h"}, {"ahead": "1s", "emergency": true}} {
		if got := s.do("POST", "/v1/admin/feed-keys/rotate", s.admin, bad); got.Code != 400 || !strings.Contains(got.Body.String(), `"ahead"`) {
			t.Errorf("%v: %d %s", bad, got.Code, got.Body)
		}
	}
	s.must(200, "POST", "/v1/admin/feed-keys/rotate", s.admin, map[string]any{"emergency": true}, &feedKey)
	if time.Until(feedKey.SignsAt) > 0 {
		t.Errorf("an emergency's feed key waits: %+v", feedKey)
	}
	s.must(204, "DELETE", one, s.admin, nil, nil)
	if got := s.do("GET", one, s.admin, nil); got.Code != 404 {
		t.Errorf("deleted user: %d", got.Code)
	}
}

func TestRevocations(t *testing.T) {
	s := newSystem(t)
	alice := s.person("alice")
	post := func(status int, body map[string]any) *httptest.ResponseRecorder {
		t.Helper()
		return s.must(status, "POST", "/v1/admin/revocations", s.admin, body, nil)
	}
	w := post(200, map[string]any{"token": alice.AccessToken, "reason": "stolen"})
	var body Receipt
	fatal(t, json.Unmarshal(w.Body.Bytes(), &body))
	if header := s.receipt(w); body.EventID == nil || *header.EventID != *body.EventID || !body.Published {
		t.Errorf("body %s, header %s", w.Body, w.Header().Get("Tocsin-Receipt"))
	}
	again := post(200, map[string]any{"token": alice.AccessToken})
	if r := s.receipt(again); r.EventID != nil {
		t.Errorf("revoked twice: event %s", *r.EventID)
	}
	if got := s.do("GET", "/v1/me", alice.bearer(), nil); got.Code != 401 {
		t.Errorf("revoked token: %d", got.Code)
	}
	unknown := "0190a5c0-0000-7000-8000-000000000001"
	post(200, map[string]any{"jti": unknown})
	post(404, map[string]any{"session_id": unknown})
	post(404, map[string]any{"user_id": unknown})
	post(404, map[string]any{"api_key_id": unknown})
	for _, bad := range []map[string]any{
		{}, {"reason": "x"}, {"jti": unknown, "user_id": alice.User.ID}, {"jti": "x"}, {"user_id": ">"}, {"role": "*"}, {"role": "a\r\nb"},
		{"all": false}, {"all": true, "jti": unknown}, {"issued_before": "yesterday"}, {"user_ids": []string{}}, {"user_ids": []string{"x"}},
		{"api_key_id": strings.ToUpper(alice.APIKeys[0].ID)}, {"jti": unknown, "keys": true}, {"token": ""}, {"jti": unknown, "reason": strings.Repeat("x", 257)},
	} {
		if got := s.do("POST", "/v1/admin/revocations", s.admin, bad); got.Code != 400 || code(t, got) != "invalid_request" {
			t.Errorf("%v: %d %s", bad, got.Code, got.Body)
		}
	}
	post(200, map[string]any{"api_key_id": alice.APIKeys[1].ID})
	s.must(200, "POST", "/v1/admin/users/"+alice.User.ID+"/revoke?wait=published&timeout=1s", s.admin, nil, &body)
	s.must(200, "GET", "/v1/me", alice.key(), nil, nil)
	post(200, map[string]any{"user_ids": []string{alice.User.ID}})
	if got := s.do("GET", "/v1/me", alice.key(), nil); got.Code != 401 {
		t.Errorf("key after revocation by user: %d", got.Code)
	}
	var live auth.Page[auth.RevocationEntry]
	s.must(200, "GET", "/v1/admin/revocations", s.admin, nil, &live)
	if len(live.Items) < 4 {
		t.Errorf("live revocations: %+v", live)
	}
	post(200, map[string]any{"all": true})
	if got := s.do("GET", "/v1/me", s.admin, nil); got.Code != 401 {
		t.Errorf("after everybody's revocation: %d", got.Code)
	}
	for _, q := range []string{"wait=all", "wait=", "timeout=2", "timeout=-1s", "timeout=1h", "timeout=2s&timeout=3s", "dry_run=1"} {
		admin := "Bearer " + s.login("admin", adminPassword).AccessToken
		if got := s.do("POST", "/v1/logout?"+q, admin, nil); got.Code != 400 && q != "wait=" {
			t.Errorf("%s: %d %s", q, got.Code, got.Body)
		}
	}
}

func TestReceiptHeaderIsOneLineOfASCII(t *testing.T) {
	epoch := "é\U0001F600\r\n"
	got := Receipt{Epoch: &epoch, Fleet: &Fleet{Laggards: slices.Repeat([]Laggard{{"cars", "x"}}, 100)}}.header()
	for i := range len(got) {
		if got[i] < 0x20 || got[i] > 0x7e {
			t.Fatalf("byte %#x in %s", got[i], got)
		}
	}
	var back Receipt
	fatal(t, json.Unmarshal([]byte(got), &back))
	if *back.Epoch != epoch || len(back.Fleet.Laggards) != maxLaggards {
		t.Errorf("%+v", back)
	}
}

func TestKeysDontPretendToKnowWhenTheyWereUsed(t *testing.T) {
	s := newSystem(t)
	alice := s.person("alice")
	s.must(200, "GET", "/v1/me", alice.key(), nil, nil)
	for path, authorization := range map[string]string{"/v1/me/api-keys": alice.bearer(), "/v1/admin/api-keys": s.admin} {
		var page struct{ Items []map[string]any }
		s.must(200, "GET", path, authorization, nil, &page)
		if len(page.Items) != 2 {
			t.Fatalf("%s: %+v", path, page)
		}
		for _, key := range page.Items {
			if at, given := key["last_used_at"]; !given || at != nil {
				t.Errorf("%s: last_used_at %v, given %t", path, at, given)
			}
		}
	}
}

// What the document allows of a list the domain takes, and no more.
func TestTheBoundsOfListsInTheDocumentAreTheDomains(t *testing.T) {
	s := newSystem(t)
	alice, shop := s.person("alice"), s.person("shop")
	s.must(200, "PUT", "/v1/admin/users/"+shop.User.ID+"/roles", s.admin, map[string]any{"roles": []string{"queue"}}, nil)
	names := func(list string, n int) any {
		all, plans := make([]string, n), make([]map[string]any, n)
		for i := range all {
			all[i] = fmt.Sprintf("name-%d", i)
			plans[i] = map[string]any{"name": all[i], "limits": []any{}}
		}
		if list == "plans" {
			return plans
		}
		return all
	}
	for _, o := range operations(s.Server) {
		if o.schema() == nil {
			continue
		}
		for name, property := range o.schema().Properties {
			if property.Type != huma.TypeArray {
				continue
			}
			if property.MaxItems == nil {
				t.Errorf("%s: %s has no bound", o, name)
				continue
			}
			body, path, by := o.body(), o.url(alice.User.ID), s.admin
			body[name] = names(name, *property.MaxItems)
			if name == "job_grants" {
				by = shop.key()
			}
			if name == "user_ids" {
				body[name] = slices.Repeat([]string{alice.User.ID}, *property.MaxItems)
			}
			if w := s.do(o.Method, path, by, body); w.Code >= 300 {
				t.Errorf("%s: %d %s: %d %s", o, *property.MaxItems, name, w.Code, w.Body)
			}
			body[name] = names(name, *property.MaxItems+1)
			if w := s.do(o.Method, path, by, body); w.Code != 400 || problem(t, w).Errors[0].Field != name {
				t.Errorf("%s: %d %s: %d %s", o, *property.MaxItems+1, name, w.Code, w.Body)
			}
		}
	}
}
