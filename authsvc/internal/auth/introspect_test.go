package auth

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

func TestIntrospection(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		owner, err := w.AuthenticateKey(t.Context(), s.key.Key, Client{})
		if err != nil {
			t.Fatal(err)
		}
		ask := func(c Caller, token string) Introspection {
			t.Helper()
			got, err := w.Introspect(t.Context(), c, token)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		for name, token := range map[string]string{"access": s.a.AccessToken, "refresh": s.a.RefreshToken, "key": s.key.Key} {
			got := ask(owner, token)
			if !got.Active || got.Sub != s.user.ID || got.Username != "vera" || got.Scope != "user" || got.Mode != "live" || got.Iss != "http://auth.test" {
				t.Errorf("%s: %+v", name, got)
			}
			if diff := cmp.Diff(Introspection{}, ask(s.root, token)); diff != "" {
				t.Errorf("%s seen by another user: %s", name, diff)
			}
		}
		if _, _, err := w.SetRoles(t.Context(), s.root, s.root.UserID, []string{RoleAdmin, RoleIntrospect}); err != nil {
			t.Fatal(err)
		}
		all := w.as(t, "root")
		if !ask(all, s.a.AccessToken).Active {
			t.Error("the role introspect sees everything")
		}
		if _, _, err := w.SetStatus(t.Context(), s.root, s.user.ID, true); err != nil {
			t.Fatal(err)
		}
		for name, token := range map[string]string{"access": s.a.AccessToken, "refresh": s.a.RefreshToken, "key": s.key.Key,
			"nothing": "", "nonsense": "a.b.c", "unknown": newRefreshToken()} {
			if diff := cmp.Diff(Introspection{}, ask(all, token)); diff != "" {
				t.Errorf("%s of a disabled user: %s", name, diff)
			}
		}
	})
}

func TestTestKeysSeeTestCredentialsOnly(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		if _, _, err := w.SetRoles(t.Context(), s.root, s.user.ID, []string{RoleIntrospect}); err != nil {
			t.Fatal(err)
		}
		keys := w.register(t, "other").Keys
		test := s.key1(t, NewAPIKey{Name: "test", Mode: events.ModeTest})
		c, err := w.AuthenticateKey(t.Context(), test.Key, Client{})
		if err != nil {
			t.Fatal(err)
		}
		for token, want := range map[string]bool{keys[0].Key: false, keys[1].Key: true, s.a.AccessToken: false, s.a.RefreshToken: false, test.Key: true} {
			if got, err := w.Introspect(t.Context(), c, token); err != nil || got.Active != want {
				t.Errorf("%.9s: %+v %v, want active %t", token, got, err, want)
			}
		}
	})
}

func TestUsedRefreshTokensAreInactive(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		if _, err := w.Refresh(t.Context(), s.a.RefreshToken, Client{}); err != nil {
			t.Fatal(err)
		}
		got, err := w.Introspect(t.Context(), s.caller, s.a.RefreshToken)
		if diff := cmp.Diff(Introspection{}, got); diff != "" || err != nil {
			t.Errorf("%s %v", diff, err)
		}
	})
}

func TestRevokingByHolderTakesAnythingCalmly(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		if _, err := w.RevokeToken(t.Context(), s.caller, s.a.RefreshToken); err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{"", "x", "a.b.c", newRefreshToken(), s.a.AccessToken, s.a.RefreshToken} {
			if done, err := w.RevokeToken(t.Context(), s.caller, token); err != nil || done.Changed() {
				t.Errorf("%.12s: %+v %v", token, done, err)
			}
		}
	})
}

func TestForeignTokensAreNotOurs(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		claims, err := peekToken(s.a.AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		ring := w.ring.keys[0]
		sign := func(kid string, change func(c *accessClaims)) string {
			c := claims
			change(&c)
			token, err := signToken(kid, "EdDSA", ring.Private, c)
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		same := func(*accessClaims) {}
		parts := strings.Split(s.a.AccessToken, ".")
		for name, token := range map[string]string{
			"unknown kid":     sign("other", same),
			"no kid":          sign("", same),
			"issuer":          sign(ring.KID, func(c *accessClaims) { c.Issuer += "/" }),
			"audience":        sign(ring.KID, func(c *accessClaims) { c.Audience = "other" }),
			"expired":         sign(ring.KID, func(c *accessClaims) { c.Expires = time.Now().Unix() - 1 }),
			"subject":         sign(ring.KID, func(c *accessClaims) { c.Subject = s.root.UserID }),
			"session":         sign(ring.KID, func(c *accessClaims) { c.SessionID = "" }),
			"jti":             sign(ring.KID, func(c *accessClaims) { c.ID = "" }),
			"old tv":          sign(ring.KID, func(c *accessClaims) { c.TV-- }),
			"cut":             s.a.AccessToken[:len(s.a.AccessToken)-1],
			"none":            "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + parts[1] + ".",
			"another's claim": parts[0] + "." + strings.Split(s.b.AccessToken, ".")[1] + "." + parts[2],
			"long":            s.a.AccessToken + strings.Repeat("A", 9000),
		} {
			if _, err := w.AuthenticateBearer(t.Context(), token, Client{}); !errors.Is(err, ErrUnauthenticated) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := w.AuthenticateBearer(t.Context(), sign(ring.KID, same), Client{}); err != nil {
			t.Errorf("the unchanged token: %v", err)
		}
	})
}
