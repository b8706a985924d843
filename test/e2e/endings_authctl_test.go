package e2e

import (
	"path/filepath"
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/system"
)

// command runs authctl as the admin; arguments that aren't constant come from a function.
func command(args ...any) func(s *stage) {
	return func(s *stage) { s.authctl(s.admin(), texts(s, args)...) }
}

func ownCommand(args ...any) func(s *stage) {
	return func(s *stage) { s.authctl(s.user.Auth(), texts(s, args)...) }
}

func texts(s *stage, args []any) []string {
	all := make([]string, 0, len(args))
	for _, arg := range args {
		switch arg := arg.(type) {
		case string:
			all = append(all, arg)
		case func(s *stage) string:
			all = append(all, arg(s))
		}
	}
	return all
}

func endedByCommands() []ending {
	flag := func(name string, value func(s *stage) string) func(s *stage) string {
		return func(s *stage) string { return "--" + name + "=" + value(s) }
	}
	username := func(s *stage) string { return s.user.Name }
	userID := func(s *stage) string { return s.user.ID }
	return []ending{
		{name: "authctl logout", act: ownCommand("logout"),
			events: []string{"token.revoked session A"}, audit: "session.logout", living: onlyB},
		{name: "authctl logout --all", act: ownCommand("logout", "--all"),
			events: []string{"token.revoked user U"}, audit: "user.logout_all", living: noTokens},
		{name: "authctl users roles", act: command("users", "roles", username, "editor"), roles: []string{"editor"},
			events: []string{"role.changed U [editor] free"}, audit: "user.roles", living: all},
		{name: "authctl users plan", act: command("users", "plan", username, "pro"),
			events: []string{"role.changed U [user] pro"}, audit: "user.plan", living: all},
		{name: "authctl users disable", act: command("users", "disable", userID),
			events: []string{"token.revoked user U", "role.changed U [user] free disabled"}, audit: "user.disabled", living: none},
		{name: "authctl users enable", prepare: command("users", "disable", userID), start: " ", act: command("users", "enable", userID),
			events: []string{"role.changed U [user] free"}, audit: "user.enabled", living: noTokens},
		{name: "authctl users revoke", act: command("users", "revoke", username),
			events: []string{"token.revoked user U"}, audit: "user.revoked", living: noTokens},
		{name: "authctl users delete", act: command("users", "delete", username),
			events: []string{"role.changed U [] free disabled", "token.revoked user U with keys"}, audit: "user.deleted", living: none},
		{name: "authctl keys suspend", act: ownCommand("keys", "suspend", keyID),
			events: []string{"apikey.rotated KEY suspended"}, audit: "api_key.suspended", living: noKey},
		{name: "authctl keys resume", prepare: ownCommand("keys", "suspend", keyID), start: "a b", act: ownCommand("keys", "resume", keyID),
			events: []string{"apikey.rotated KEY resumed"}, audit: "api_key.resumed", living: all},
		{name: "authctl keys rotate", act: ownCommand("keys", "rotate", keyID, "--overlap=0s"),
			events: []string{"apikey.rotated KEY ends"}, audit: "api_key.rotated", living: noKey},
		{name: "authctl keys expire", act: ownCommand("keys", "expire", keyID),
			events: []string{"apikey.rotated KEY ends"}, audit: "api_key.shortened", living: noKey},
		{name: "authctl keys expire --in", act: ownCommand("keys", "expire", keyID, "--in=1h"),
			events: []string{"apikey.rotated KEY ends later"}, audit: "api_key.shortened", living: all},
		{name: "authctl keys expire --any", act: command("keys", "expire", keyID, "--any"),
			events: []string{"apikey.rotated KEY ends"}, audit: "api_key.shortened", living: noKey},
		{name: "authctl keys suspend --any", act: command("keys", "suspend", keyID, "--any"),
			events: []string{"apikey.rotated KEY suspended"}, audit: "api_key.suspended", living: noKey},
		{name: "authctl keys resume --any", prepare: command("keys", "suspend", keyID, "--any"), start: "a b", act: command("keys", "resume", keyID, "--any"),
			events: []string{"apikey.rotated KEY resumed"}, audit: "api_key.resumed", living: all},
		{name: "authctl keys delete --any", act: command("keys", "delete", keyID, "--any"),
			events: []string{"apikey.rotated KEY ends"}, audit: "api_key.deleted", living: noKey},
		{name: "authctl keys delete", act: ownCommand("keys", "delete", keyID),
			events: []string{"apikey.rotated KEY ends"}, audit: "api_key.deleted", living: noKey},
		{name: "authctl revoke --user", act: command("revoke", flag("user", username)),
			events: []string{"token.revoked user U with keys"}, audit: "revocation.user_id", living: none},
		{name: "authctl revoke --users", act: command("revoke", flag("users", userID)),
			events: []string{"token.revoked users U with keys"}, audit: "revocation.user_ids", living: none},
		{name: "authctl revoke --role", prepare: giveRole("culprit"), roles: []string{"culprit"}, act: command("revoke", "--role=culprit"),
			events: []string{"token.revoked users U with keys"}, audit: "revocation.role", living: none},
		{name: "authctl revoke --session", act: command("revoke", flag("session", func(s *stage) string { return s.b.Session })),
			events: []string{"token.revoked session B"}, audit: "revocation.session_id", living: onlyA},
		{name: "authctl revoke --jti", act: command("revoke", flag("jti", func(s *stage) string { return s.jti(s.user.Token) })),
			events: []string{"token.revoked jti JTI"}, audit: "revocation.jti", living: "b key ra rb"},
		{name: "authctl revoke --token-file", act: command("revoke", flag("token-file", func(s *stage) string { return s.file(s.user.Token) })),
			events: []string{"token.revoked jti JTI"}, audit: "revocation.token", living: "b key ra rb"},
		{name: "authctl revoke --key", act: command("revoke", flag("key", keyID)),
			events: []string{"apikey.rotated KEY ends"}, audit: "revocation.api_key_id", living: noKey},
		{name: "authctl revoke --issued-before", everybody: true, prepare: loginLater, act: command("revoke", flag("issued-before", (*stage).cut)),
			events: []string{"token.revoked before"}, audit: "revocation.issued_before", living: onlyB},
		{name: "authctl revoke --all", everybody: true, act: command("revoke", "--all"),
			events: []string{"token.revoked before"}, audit: "revocation.all", living: noTokens},
		{name: "authctl revoke --all --keys", everybody: true, act: command("revoke", "--all", "--keys"),
			events: []string{"token.revoked before with keys"}, audit: "revocation.all", living: none},
	}
}

// endedForServices narrow trust in a service. No credential dies, so there is no event; the service is off the bus.
func endedForServices() []ending {
	return []ending{
		{name: "a service is removed", prepare: joinAs("extra"), check: isShutOut, audit: "service.removed", living: all,
			act: func(s *stage) { s.must("DELETE /v1/admin/services/{name}", s.admin(), "extra", nil) }},
		{name: "authctl services remove", prepare: joinAs("spare"), check: isShutOut, audit: "service.removed", living: all,
			act: command("services", "remove", "spare")},
	}
}

// joinAs starts another resource service under a name of its own.
func joinAs(name string) func(s *stage) {
	return func(s *stage) {
		var made struct {
			Seed string `json:"nkey_seed"`
		}
		s.auth.Must(s.t, 201, "POST", "/v1/admin/services", s.admin(), map[string]any{"name": name}).Into(s.t, &made)
		s.service = system.StartResource(s.t, s.auth, map[string]string{"TOCSIN_SERVICE": name, "TOCSIN_MAX_STALENESS": "1s",
			"TOCSIN_NATS_CREDS": s.file(made.Seed), "TOCSIN_DATABASE_URL": "sqlite:" + filepath.Join(s.t.TempDir(), "resource.db")})
		s.service.Eventually(s.t, "GET", "/v1/whoami/elite", s.user.Auth(), system.Status(200, ""))
	}
}

// isShutOut waits until the service has no proof any more: nobody answers it.
func isShutOut(s *stage) {
	s.service.Eventually(s.t, "GET", "/v1/whoami", s.user.Auth(), stale)
	if got := s.service.Do(s.t, "GET", "/v1/whoami/elite", s.user.Auth(), nil); got.Status != 503 {
		s.t.Errorf("an elite call at a service that was shut out: %v", got)
	}
	s.service.Kill()
}

func millis(t testing.TB, id string) int64 {
	t.Helper()
	parsed, err := events.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Millis()
}
