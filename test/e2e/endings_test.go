package e2e

import (
	"net/http"
	"strings"
	"time"

	"github.com/tocsin-auth/tocsin/test/system"
)

// ending is one path that ends or narrows trust.
type ending struct {
	name    string
	prepare func(s *stage)
	act     func(s *stage)
	events  []string // as said renders them
	audit   string   // action of the row
	// living afterwards: "a" and "b" are the access tokens of the two sessions and "key" the live key, at the resource
	// service; "ra" and "rb" are the refresh tokens at authsvc.
	living string
	roles  []string // seen at the resource service; nil: as before
	check  func(s *stage)
	start  string // living before, when not everything is
	// unawaited paths have no receipt; their effect is polled for.
	unawaited bool
	// everybody paths end others' credentials too.
	everybody bool
	// itself: what it ends is the offspring, and check looks at that.
	itself bool
	// aged paths need a token that was prepared longer ago than the refresh grace.
	aged bool
}

const (
	none     = ""
	all      = "a b key ra rb"
	noTokens = "key"
	noKey    = "a b ra rb"
	onlyB    = "b key rb"
	onlyA    = "a key ra"
	revoke   = "POST /v1/admin/revocations"
	oneUser  = "/v1/admin/users/{id}"
	oneKey   = "/v1/me/api-keys/{id}"
	anyKey   = "/v1/admin/api-keys/{id}"
	past     = "1970-01-01T00:00:00Z" // by every clock
)

func later() string { return time.Now().Add(time.Hour).UTC().Format(time.RFC3339) }

func endings() []ending {
	var rows []ending
	rows = append(rows, endedByUsers()...)
	rows = append(rows, endedByAdmins()...)
	rows = append(rows, endedByRevocation()...)
	rows = append(rows, endedByOAuth()...)
	rows = append(rows, endedByCommands()...)
	rows = append(rows, endedForServices()...)
	rows = append(rows, endedByReports()...)
	rows = append(rows, endedOneByOne()...)
	return rows
}

// byUser and byAdmin make a call with the whole fleet's receipt; target and body may be nil.
func byUser(operation string, target func(s *stage) string, body map[string]any) func(s *stage) {
	return func(s *stage) { s.must(operation, s.user.Auth(), idOf(s, target), body) }
}

func byAdmin(operation string, body func(s *stage) map[string]any) func(s *stage) {
	return func(s *stage) {
		by := s.admin()
		var content map[string]any
		if body != nil {
			content = body(s)
		}
		s.must(operation, by, s.user.ID, content)
	}
}

func idOf(s *stage, target func(s *stage) string) string {
	if target == nil {
		return ""
	}
	return target(s)
}

func with(property string, value any) func(s *stage) map[string]any {
	return func(*stage) map[string]any { return map[string]any{property: value} }
}

func of(property string, value func(s *stage) any) func(s *stage) map[string]any {
	return func(s *stage) map[string]any { return map[string]any{property: value(s)} }
}

func keyID(s *stage) string { return s.user.LiveKeyID }

func endedByUsers() []ending {
	suspended := map[string]any{"disabled": true}
	return []ending{
		{name: "logout", act: byUser("POST /v1/logout", nil, nil),
			events: []string{"token.revoked session A"}, audit: "session.logout", living: onlyB},
		{name: "logout everywhere", act: byUser("POST /v1/logout/all", nil, nil),
			events: []string{"token.revoked user U"}, audit: "user.logout_all", living: noTokens},
		{name: "a session is ended", act: byUser("DELETE /v1/me/sessions/{id}", func(s *stage) string { return s.b.Session }, nil),
			events: []string{"token.revoked session B"}, audit: "session.ended", living: onlyA},
		{name: "the password is changed", act: func(s *stage) {
			s.must("POST /v1/me/password", s.user.Auth(), "", map[string]any{"current": s.user.Password, "new": "quite another passphrase"})
		}, events: []string{"token.revoked session B"}, audit: "password.changed", living: onlyA, check: func(s *stage) {
			if got := s.auth.Do(s.t, "POST", "/v1/login", "", map[string]any{"username": s.user.Name, "password": s.user.Password}); got.Status != 401 {
				s.t.Errorf("the old password: %v", got)
			}
		}},
		{name: "a user with as many sessions as one may have logs in again", prepare: loginOften, unawaited: true, act: func(s *stage) {
			s.must("POST /v1/login", "", "", map[string]any{"username": s.user.Name, "password": s.user.Password, "mode": "live"})
		}, events: []string{"token.revoked session A"}, audit: "session.displaced", living: onlyB},
		{name: "a key is suspended", act: byUser("PATCH "+oneKey, keyID, suspended),
			events: []string{"apikey.rotated KEY suspended"}, audit: "api_key.suspended", living: noKey},
		{name: "a key is resumed", prepare: byUser("PATCH "+oneKey, keyID, suspended), start: "a b",
			act:    byUser("PATCH "+oneKey, keyID, map[string]any{"disabled": false}),
			events: []string{"apikey.rotated KEY resumed"}, audit: "api_key.resumed", living: all},
		{name: "a key is rotated without overlap", act: rotate("0s", 401),
			events: []string{"apikey.rotated KEY ends"}, audit: "api_key.rotated", living: noKey},
		{name: "a key is rotated with overlap", act: rotate("1h", 200),
			events: []string{"apikey.rotated KEY ends later"}, audit: "api_key.rotated", living: all},
		{name: "a rotated key's overlap ends", act: rotate("2s", 200), unawaited: true,
			events: []string{"apikey.rotated KEY ends later"}, audit: "api_key.rotated", living: noKey},
		{name: "a key is given an earlier end", act: byUser("PATCH "+oneKey, keyID, map[string]any{"expires_at": later()}),
			events: []string{"apikey.rotated KEY ends later"}, audit: "api_key.shortened", living: all},
		{name: "a rotated key's overlap is ended early", prepare: rotate("1h", 200), act: byUser("PATCH "+oneKey, keyID, map[string]any{"expires_at": past}),
			events: []string{"apikey.rotated KEY ends"}, audit: "api_key.shortened", living: noKey},
		{name: "a rotated key is deleted in its overlap", prepare: rotate("1h", 200), act: byUser("DELETE "+oneKey, keyID, nil),
			events: []string{"apikey.rotated KEY ends"}, audit: "api_key.deleted", living: noKey},
		{name: "a key is deleted", act: byUser("DELETE "+oneKey, keyID, nil),
			events: []string{"apikey.rotated KEY ends"}, audit: "api_key.deleted", living: noKey},
	}
}

// loginOften opens all the sessions that a user may have; A is the one that was unused for the longest.
func loginOften(s *stage) {
	const most = 200
	for range most - 2 {
		another := s.user
		s.auth.Login(s.t, &another)
	}
}

// rotate replaces the key and checks that the successor works, and the key still does in its overlap.
func rotate(overlap string, old int) func(s *stage) {
	return func(s *stage) {
		began, lasts := time.Now(), s.duration(overlap)
		var made struct {
			APIKey struct{ Key string } `json:"api_key"`
		}
		s.must("POST "+oneKey+"/rotate", s.user.Auth(), s.user.LiveKeyID, map[string]any{"overlap": overlap}).Into(s.t, &made)
		for _, route := range []string{"/v1/whoami", "/v1/whoami/elite"} {
			s.resource.Must(s.t, 200, "GET", route, system.Key(made.APIKey.Key), nil)
			got := s.resource.Do(s.t, "GET", route, s.key(), nil)
			over := old == http.StatusOK && got.Status == http.StatusUnauthorized && time.Since(began) > lasts
			if got.Status != old && !over { // a slow machine may come too late
				s.t.Errorf("the old key on %s: %v, want %d", route, got, old)
			}
		}
	}
}

func (s *stage) duration(text string) time.Duration {
	s.t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func endedByAdmins() []ending {
	itsKey := func(method string, body map[string]any) func(s *stage) {
		return func(s *stage) { s.must(method+" "+anyKey, s.admin(), s.user.LiveKeyID, body) }
	}
	disabled := byAdmin("PUT "+oneUser+"/status", with("disabled", true))
	return []ending{
		{name: "the roles are changed", act: byAdmin("PUT "+oneUser+"/roles", with("roles", []string{"editor"})), roles: []string{"editor"},
			events: []string{"role.changed U [editor] free"}, audit: "user.roles", living: all},
		{name: "all roles are taken", act: byAdmin("PUT "+oneUser+"/roles", with("roles", []string{})), roles: []string{""},
			events: []string{"role.changed U [] free"}, audit: "user.roles", living: all},
		{name: "the plan is changed", act: byAdmin("PUT "+oneUser+"/plan", with("plan", "pro")),
			events: []string{"role.changed U [user] pro"}, audit: "user.plan", living: all},
		{name: "the user is disabled", act: disabled,
			events: []string{"token.revoked user U", "role.changed U [user] free disabled"}, audit: "user.disabled", living: none},
		{name: "the user is enabled again", prepare: disabled, start: " ",
			act:    byAdmin("PUT "+oneUser+"/status", with("disabled", false)),
			events: []string{"role.changed U [user] free"}, audit: "user.enabled", living: noTokens},
		{name: "the user is deleted", act: byAdmin("DELETE "+oneUser, nil),
			events: []string{"role.changed U [] free disabled", "token.revoked user U with keys"}, audit: "user.deleted", living: none},
		{name: "the user is revoked", act: byAdmin("POST "+oneUser+"/revoke", nil),
			events: []string{"token.revoked user U"}, audit: "user.revoked", living: noTokens},
		{name: "an admin suspends the key", act: itsKey("PATCH", map[string]any{"disabled": true}),
			events: []string{"apikey.rotated KEY suspended"}, audit: "api_key.suspended", living: noKey, check: ownerCannotResume},
		{name: "an admin takes over what the owner has suspended", prepare: byUser("PATCH "+oneKey, keyID, map[string]any{"disabled": true}), start: "a b",
			act:    itsKey("PATCH", map[string]any{"disabled": true}),
			events: []string{"apikey.rotated KEY suspended"}, audit: "api_key.suspended", living: noKey, check: ownerCannotResume},
		{name: "an admin resumes the key", prepare: itsKey("PATCH", map[string]any{"disabled": true}), start: "a b",
			act:    itsKey("PATCH", map[string]any{"disabled": false}),
			events: []string{"apikey.rotated KEY resumed"}, audit: "api_key.resumed", living: all},
		{name: "an admin ends the key", act: itsKey("PATCH", map[string]any{"expires_at": past}),
			events: []string{"apikey.rotated KEY ends"}, audit: "api_key.shortened", living: noKey},
		{name: "an admin deletes the key", act: itsKey("DELETE", nil),
			events: []string{"apikey.rotated KEY ends"}, audit: "api_key.deleted", living: noKey},
		{name: "the signing key is rotated", act: byAdmin("POST /v1/admin/signing-keys/rotate", with("emergency", false)),
			events: []string{"keys.changed"}, audit: "signing_key.rotated", living: all},
		// The sessions live on: only what was signed is in doubt.
		{name: "the signing key is rotated in an emergency", everybody: true, act: byAdmin("POST /v1/admin/signing-keys/rotate", with("emergency", true)),
			events: []string{"keys.changed"}, audit: "signing_key.rotated", living: "key ra rb"},
	}
}

// ownerCannotResume tries what an owner may with a key that an admin suspended.
func ownerCannotResume(s *stage) {
	one := "/v1/me/api-keys/" + s.user.LiveKeyID
	b := s.user.Auth()
	if got := s.auth.Do(s.t, "PATCH", one, b, map[string]any{"disabled": false}); got.Status != 403 || got.Code() != "forbidden" {
		s.t.Errorf("the owner resumes it: %v", got)
	}
	if got := s.auth.Do(s.t, "POST", one+"/rotate", b, nil); got.Status != 409 || got.Code() != "conflict" {
		s.t.Errorf("the owner rotates it: %v", got)
	}
	s.resource.Must(s.t, 401, "GET", "/v1/whoami", s.key(), nil)
}

func endedByRevocation() []ending {
	everything := func(property string, value any) func(s *stage) {
		return byAdmin(revoke, func(*stage) map[string]any { return map[string]any{property: value, "keys": true} })
	}
	return []ending{
		{name: "revocation by access token", act: byAdmin(revoke, of("token", func(s *stage) any { return s.user.Token })),
			events: []string{"token.revoked jti JTI"}, audit: "revocation.token", living: "b key ra rb"},
		{name: "revocation by refresh token", act: byAdmin(revoke, of("token", func(s *stage) any { return s.user.RefreshToken })),
			events: []string{"token.revoked session A"}, audit: "revocation.token", living: onlyB},
		{name: "revocation by key", act: byAdmin(revoke, of("token", func(s *stage) any { return s.user.LiveKey })),
			events: []string{"apikey.rotated KEY ends"}, audit: "revocation.token", living: noKey},
		{name: "revocation by jti", act: byAdmin(revoke, of("jti", func(s *stage) any { return s.jti(s.user.Token) })),
			events: []string{"token.revoked jti JTI"}, audit: "revocation.jti", living: "b key ra rb"},
		{name: "revocation by session", act: byAdmin(revoke, of("session_id", func(s *stage) any { return s.b.Session })),
			events: []string{"token.revoked session B"}, audit: "revocation.session_id", living: onlyA},
		{name: "revocation by user", act: byAdmin(revoke, of("user_id", func(s *stage) any { return s.user.ID })),
			events: []string{"token.revoked user U with keys"}, audit: "revocation.user_id", living: none},
		{name: "revocation by users", act: byAdmin(revoke, of("user_ids", func(s *stage) any { return []string{s.user.ID} })),
			events: []string{"token.revoked users U with keys"}, audit: "revocation.user_ids", living: none},
		{name: "revocation by role", prepare: giveRole("suspect"), roles: []string{"suspect"}, act: byAdmin(revoke, with("role", "suspect")),
			events: []string{"token.revoked users U with keys"}, audit: "revocation.role", living: none},
		{name: "revocation by key id", act: byAdmin(revoke, of("api_key_id", func(s *stage) any { return s.user.LiveKeyID })),
			events: []string{"apikey.rotated KEY ends"}, audit: "revocation.api_key_id", living: noKey},
		{name: "revocation by time", everybody: true, prepare: loginLater, act: byAdmin(revoke, of("issued_before", func(s *stage) any { return s.cut() })),
			events: []string{"token.revoked before"}, audit: "revocation.issued_before", living: onlyB},
		{name: "revocation by time, with keys", everybody: true, prepare: loginLater, act: func(s *stage) { everything("issued_before", s.cut())(s) },
			events: []string{"token.revoked before with keys"}, audit: "revocation.issued_before", living: "b rb"},
		{name: "revocation of all tokens", everybody: true, act: byAdmin(revoke, with("all", true)),
			events: []string{"token.revoked before"}, audit: "revocation.all", living: noTokens},
		{name: "revocation of everything", everybody: true, act: everything("all", true),
			events: []string{"token.revoked before with keys"}, audit: "revocation.all", living: none},
	}
}

func giveRole(role string) func(s *stage) {
	return byAdmin("PUT "+oneUser+"/roles", with("roles", []string{role}))
}

// loginLater opens session B again, so that a time divides the sessions.
func loginLater(s *stage) {
	time.Sleep(5 * time.Millisecond) // ids count milliseconds
	s.auth.Login(s.t, &s.b)
}

// cut is the time at which session B was opened: everything older dies.
func (s *stage) cut() string {
	return time.UnixMilli(millis(s.t, s.b.Session)).UTC().Format(time.RFC3339Nano)
}

func endedByOAuth() []ending {
	revokeHeld := func(token func(s *stage) string) func(s *stage) {
		return func(s *stage) { s.must("POST /oauth2/revoke", s.key(), "", map[string]any{"token": token(s)}) }
	}
	reused := func(s *stage, operation string, body map[string]any) {
		if got := s.call(operation, "", "", body); got.Status != 401 && got.Status != 400 {
			s.t.Errorf("reuse: %v", got)
		}
	}
	return []ending{
		{name: "an access token is revoked by its holder", act: revokeHeld(func(s *stage) string { return s.user.Token }),
			events: []string{"token.revoked jti JTI"}, audit: "token.revoked", living: "b key ra rb"},
		{name: "a refresh token is revoked by its holder", act: revokeHeld(func(s *stage) string { return s.b.RefreshToken }),
			events: []string{"token.revoked session B"}, audit: "token.revoked", living: onlyA},
		{name: "a key is revoked by its holder", act: revokeHeld(func(s *stage) string { return s.user.LiveKey }),
			events: []string{"apikey.rotated KEY ends"}, audit: "token.revoked", living: noKey},
		{name: "a refresh token is used again", aged: true, unawaited: true, prepare: spend,
			act:    func(s *stage) { reused(s, "POST /v1/token/refresh", map[string]any{"refresh_token": s.spent}) },
			events: []string{"token.revoked session B"}, audit: "session.reuse", living: onlyA},
		{name: "a refresh token is used again at the token endpoint", aged: true, unawaited: true, prepare: spend, act: func(s *stage) {
			reused(s, "POST /oauth2/token", map[string]any{"grant_type": "refresh_token", "refresh_token": s.spent})
		}, events: []string{"token.revoked session B"}, audit: "session.reuse", living: onlyA},
	}
}

// spend uses session B's refresh token and keeps the successor.
func spend(s *stage) {
	var next struct {
		RefreshToken string `json:"refresh_token"`
	}
	s.spent = s.b.RefreshToken
	s.auth.Must(s.t, 200, "POST", "/v1/token/refresh", "", map[string]any{"refresh_token": s.spent}).Into(s.t, &next)
	s.b.RefreshToken = next.RefreshToken
}

// endedByReports are unawaited: who reports a key is told nothing, so no receipt either.
func endedByReports() []ending {
	reported := func(operation string, body func(key string) any) func(s *stage) {
		return func(s *stage) {
			s.used.operation(operation, nil)
			_, target, _ := strings.Cut(operation, " ")
			if got := s.auth.Do(s.t, "POST", target, "", body(s.user.LiveKey)); got.Status != 202 || len(got.Body) > 0 || got.Header.Get("Tocsin-Receipt") != "" {
				s.t.Errorf("report: %v", got)
			}
		}
	}
	const plain, github = "POST /v1/keys/report", "POST /v1/keys/report/github"
	return []ending{
		{name: "a key is reported as leaked", unawaited: true, act: func(s *stage) {
			reported(plain, func(key string) any { return map[string]any{"keys": []string{key}} })(s)
			s.used.operation(plain, map[string]any{"keys": nil})
		}, events: []string{"apikey.rotated KEY ends"}, audit: "api_key.reported", living: noKey},
		{name: "a key is reported in GitHub's form", unawaited: true,
			act: reported(github, func(key string) any {
				return []map[string]any{{"token": key, "type": "tocsin", "url": "", "source": "content"}}
			}),
			events: []string{"apikey.rotated KEY ends"}, audit: "api_key.reported", living: noKey},
	}
}
