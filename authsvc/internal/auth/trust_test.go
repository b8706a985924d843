package auth

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// scene is a user with two sessions and a key, and an admin.
type scene struct {
	*world
	t      *testing.T
	user   User
	a, b   Tokens
	caller Caller // by session a
	root   Caller
	key    IssuedKey
	client Caller // a worker, by its key, once there is one
	// subject is what it may exchange.
	subject Exchange
}

func newScene(t *testing.T, w *world) *scene { return sceneOf(t, w, "vera") }

func sceneOf(t *testing.T, w *world, username string) *scene {
	t.Helper()
	r := w.register(t, username)
	s := &scene{world: w, t: t, user: r.User, key: r.Keys[0], a: w.login(t, username), root: w.as(t, "root")}
	w.clock.Advance(10 * time.Millisecond) // the sessions differ in age
	s.b = w.login(t, username)
	s.caller = w.caller(t, s.a.AccessToken)
	return s
}

// living names what still works of the user's credentials: the access tokens and refresh tokens of both sessions, the key.
func (s *scene) living() string {
	var alive []string
	for name, token := range map[string]string{"a": s.a.AccessToken, "b": s.b.AccessToken} {
		if _, err := s.AuthenticateBearer(s.t.Context(), token, Client{}); err == nil {
			alive = append(alive, name)
		}
	}
	if _, err := s.AuthenticateKey(s.t.Context(), s.key.Key, Client{}); err == nil {
		alive = append(alive, "key")
	}
	slices.Sort(alive)
	return strings.Join(alive, " ")
}

var number = regexp.MustCompile(`:\d+`)

// said renders events with names for ids and N for versions and times.
func (s *scene) said(ids []string) []string {
	names := strings.NewReplacer(s.user.ID, "vera", s.a.SessionID, "A", s.b.SessionID, "B", s.key.ID, "KEY",
		s.caller.TokenID, "JTI", s.root.UserID, "root")
	var all []string
	for _, id := range ids {
		e := s.event(s.t, id)
		text := number.ReplaceAllString(names.Replace(string(e.Payload)), ":N")
		all = append(all, string(e.Type)+" "+text+" @"+names.Replace(e.Target))
	}
	return all
}

// shorten lets the key end after a time, by the database's clock.
func (s *scene) shorten(after time.Duration) (Change, error) {
	var now int64
	s.update(s.t, func(tx *store.Tx) error { now = tx.Now(); return nil })
	_, done, err := s.UpdateAPIKey(s.t.Context(), s.caller, s.key.ID, APIKeyPatch{ExpiresAt: ptr(fromMicros(now).Add(after))})
	return done, err
}

func ptr[T any](v T) *T { return &v }

// path is one way to end or narrow trust.
type path struct {
	name   string
	act    func(s *scene) (Change, error)
	events []string
	audit  string
	living string // afterwards
}

var successor, hash = regexp.MustCompile(`"successor":"[^"]+"`), regexp.MustCompile(`"hash":"[^"]+"`)

func TestEveryPathThatEndsOrNarrowsTrustSendsItsEventAndAudits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for i, p := range paths() {
			t.Run(p.name, func(t *testing.T) { p.walk(t, sceneOf(t, w, "vera"+strconv.Itoa(i))) })
		}
	})
}

func (p path) walk(t *testing.T, s *scene) {
	if got := s.living(); got != "a b key" {
		t.Fatalf("before: living %q", got)
	}
	nudges := s.nudges.Load()
	done, err := p.act(s)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, line := range s.said(done.EventIDs) {
		line = successor.ReplaceAllString(line, `"successor":"NEW"`)
		said = append(said, hash.ReplaceAllString(line, `"hash":"H"`))
	}
	if diff := cmp.Diff(p.events, said); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if s.nudges.Load() == nudges {
		t.Error("the dispatcher wasn't nudged")
	}
	row := s.newestAudit(t, p.audit)
	var detail struct{ Events []string }
	if err := json.Unmarshal([]byte(row.Detail), &detail); err != nil || row.Actor == "" {
		t.Errorf("audit row %+v: %v", row, err)
	}
	// The rows of the sessions that a password change ends name their events themselves.
	if p.audit != "password.changed" && !slices.Equal(detail.Events, done.EventIDs) {
		t.Errorf("the audit row names events %v, not %v", detail.Events, done.EventIDs)
	}
	if got := s.living(); got != p.living {
		t.Errorf("living afterwards %q, want %q", got, p.living)
	}
}

func paths() []path {
	return []path{
		{"logout", func(s *scene) (Change, error) { return s.Logout(s.t.Context(), s.caller) },
			[]string{`token.revoked {"session_id":"A"} @session:A`}, "session.logout", "b key"},
		{"logout everywhere", func(s *scene) (Change, error) { return s.LogoutAll(s.t.Context(), s.caller) },
			[]string{`token.revoked {"user_id":"vera","tv":N} @user:vera`}, "user.logout_all", "key"},
		{"session deleted", func(s *scene) (Change, error) { return s.EndSession(s.t.Context(), s.caller, s.b.SessionID) },
			[]string{`token.revoked {"session_id":"B"} @session:B`}, "session.ended", "a key"},
		{"password changed", func(s *scene) (Change, error) {
			return s.ChangePassword(s.t.Context(), s.caller, password, "another horse battery")
		}, []string{`token.revoked {"session_id":"B"} @session:B`}, "password.changed", "a key"},
		{"key suspended", func(s *scene) (Change, error) {
			_, done, err := s.UpdateAPIKey(s.t.Context(), s.caller, s.key.ID, APIKeyPatch{Disabled: ptr(true)})
			return done, err
		}, []string{`apikey.rotated {"key_id":"KEY","suspended":true,"kv":N} @key:KEY`}, "api_key.suspended", "a b"},
		{"key rotated without overlap", func(s *scene) (Change, error) {
			r, done, err := s.RotateAPIKey(s.t.Context(), s.caller, s.key.ID, 0)
			if err == nil && r.Key.Key == s.key.Key {
				err = fmt.Errorf("the successor is the same key")
			}
			return done, err
		}, []string{`apikey.rotated {"key_id":"KEY","successor":"NEW","not_after":N} @key:KEY`}, "api_key.rotated", "a b"},
		{"key rotated with overlap", func(s *scene) (Change, error) {
			_, done, err := s.RotateAPIKey(s.t.Context(), s.caller, s.key.ID, time.Hour)
			return done, err
		}, []string{`apikey.rotated {"key_id":"KEY","successor":"NEW","not_after":N} @key:KEY`}, "api_key.rotated", "a b key"},
		{"key deleted", func(s *scene) (Change, error) { return s.DeleteAPIKey(s.t.Context(), s.caller, s.key.ID) },
			[]string{`apikey.rotated {"key_id":"KEY","not_after":N} @key:KEY`}, "api_key.deleted", "a b"},
		{"key shortened", func(s *scene) (Change, error) { return s.shorten(time.Hour) },
			[]string{`apikey.rotated {"key_id":"KEY","not_after":N} @key:KEY`}, "api_key.shortened", "a b key"},
		{"key shortened to now", func(s *scene) (Change, error) { return s.shorten(0) },
			[]string{`apikey.rotated {"key_id":"KEY","not_after":N} @key:KEY`}, "api_key.shortened", "a b"},
		{"overlap of a rotation ended early", func(s *scene) (Change, error) {
			if _, _, err := s.RotateAPIKey(s.t.Context(), s.caller, s.key.ID, time.Hour); err != nil {
				return Change{}, err
			}
			return s.shorten(-time.Hour)
		}, []string{`apikey.rotated {"key_id":"KEY","not_after":N} @key:KEY`}, "api_key.shortened", "a b"},
		{"key suspended by an admin", func(s *scene) (Change, error) {
			_, done, err := s.UpdateAnyAPIKey(s.t.Context(), s.root, s.key.ID, APIKeyPatch{Disabled: ptr(true)})
			return done, err
		}, []string{`apikey.rotated {"key_id":"KEY","suspended":true,"kv":N} @key:KEY`}, "api_key.suspended", "a b"},
		{"key shortened by an admin", func(s *scene) (Change, error) {
			_, done, err := s.UpdateAnyAPIKey(s.t.Context(), s.root, s.key.ID, APIKeyPatch{ExpiresAt: ptr(time.Unix(0, 0))})
			return done, err
		}, []string{`apikey.rotated {"key_id":"KEY","not_after":N} @key:KEY`}, "api_key.shortened", "a b"},
		{"key deleted by an admin", func(s *scene) (Change, error) { return s.DeleteAnyAPIKey(s.t.Context(), s.root, s.key.ID) },
			[]string{`apikey.rotated {"key_id":"KEY","not_after":N} @key:KEY`}, "api_key.deleted", "a b"},
		{"key reported as leaked", func(s *scene) (Change, error) {
			report, err := s.ReportKeys(s.t.Context(), []string{"x", s.key.Key, s.key.Key}, Client{IP: "192.0.2.1"})
			return report.Change, err
		}, []string{`apikey.rotated {"key_id":"KEY","not_after":N} @key:KEY`}, "api_key.reported", "a b"},
		{"roles changed", func(s *scene) (Change, error) {
			_, done, err := s.SetRoles(s.t.Context(), s.root, s.user.ID, []string{"editor"})
			return done, err
		}, []string{`role.changed {"user_id":"vera","rv":N,"roles":["editor"],"plan":"free","disabled":false} @user:vera`},
			"user.roles", "a b key"},
		{"all roles taken", func(s *scene) (Change, error) {
			_, done, err := s.SetRoles(s.t.Context(), s.root, s.user.ID, nil)
			return done, err
		}, []string{`role.changed {"user_id":"vera","rv":N,"roles":[],"plan":"free","disabled":false} @user:vera`},
			"user.roles", "a b key"},
		{"plan changed", func(s *scene) (Change, error) {
			_, done, err := s.SetPlan(s.t.Context(), s.root, s.user.ID, "pro")
			return done, err
		}, []string{`role.changed {"user_id":"vera","rv":N,"roles":["user"],"plan":"pro","disabled":false} @user:vera`},
			"user.plan", "a b key"},
		{"user disabled", func(s *scene) (Change, error) {
			_, done, err := s.SetStatus(s.t.Context(), s.root, s.user.ID, true)
			return done, err
		}, []string{`token.revoked {"user_id":"vera","tv":N} @user:vera`,
			`role.changed {"user_id":"vera","rv":N,"roles":["user"],"plan":"free","disabled":true} @user:vera`},
			"user.disabled", ""},
		{"user disabled and enabled", func(s *scene) (Change, error) {
			if _, _, err := s.SetStatus(s.t.Context(), s.root, s.user.ID, true); err != nil {
				return Change{}, err
			}
			_, done, err := s.SetStatus(s.t.Context(), s.root, s.user.ID, false)
			return done, err
		}, []string{`role.changed {"user_id":"vera","rv":N,"roles":["user"],"plan":"free","disabled":false} @user:vera`},
			"user.enabled", "key"},
		{"user deleted", func(s *scene) (Change, error) { return s.DeleteUser(s.t.Context(), s.root, s.user.ID) },
			[]string{`role.changed {"user_id":"vera","rv":N,"roles":[],"plan":"free","disabled":true} @user:vera`,
				`token.revoked {"user_id":"vera","tv":N,"keys":true} @user:vera`}, "user.deleted", ""},
		{"user revoked", func(s *scene) (Change, error) { return s.RevokeUser(s.t.Context(), s.root, s.user.ID) },
			[]string{`token.revoked {"user_id":"vera","tv":N} @user:vera`}, "user.revoked", "key"},
		{"revocation by access token", revoke(func(s *scene) Revocation { return Revocation{Token: &s.a.AccessToken} }),
			[]string{`token.revoked {"jti":"JTI"} @jti:JTI`}, "revocation.token", "b key"},
		{"revocation by refresh token", revoke(func(s *scene) Revocation { return Revocation{Token: &s.a.RefreshToken} }),
			[]string{`token.revoked {"session_id":"A"} @session:A`}, "revocation.token", "b key"},
		{"revocation by key", revoke(func(s *scene) Revocation { return Revocation{Token: &s.key.Key} }),
			[]string{`apikey.rotated {"key_id":"KEY","not_after":N} @key:KEY`}, "revocation.token", "a b"},
		{"revocation by jti", revoke(func(s *scene) Revocation { return Revocation{JTI: &s.caller.TokenID} }),
			[]string{`token.revoked {"jti":"JTI"} @jti:JTI`}, "revocation.jti", "b key"},
		{"revocation by session", revoke(func(s *scene) Revocation { return Revocation{SessionID: &s.b.SessionID} }),
			[]string{`token.revoked {"session_id":"B"} @session:B`}, "revocation.session_id", "a key"},
		{"revocation by user", revoke(func(s *scene) Revocation { return Revocation{UserID: &s.user.ID} }),
			[]string{`token.revoked {"user_id":"vera","tv":N,"keys":true} @user:vera`}, "revocation.user_id", ""},
		{"revocation by users", revoke(func(s *scene) Revocation {
			return Revocation{UserIDs: []string{s.user.ID, s.user.ID}, Keys: ptr(true)}
		}), []string{`token.revoked {"user_ids":["vera"],"tv":N,"keys":true} @users`}, "revocation.user_ids", ""},
		{"revocation by role", revoke(func(s *scene) Revocation {
			if _, _, err := s.SetRoles(s.t.Context(), s.root, s.user.ID, []string{"editor", "probe"}); err != nil {
				s.t.Fatal(err)
			}
			return Revocation{Role: ptr("probe")}
		}), []string{`token.revoked {"user_ids":["vera"],"tv":N,"keys":true} @users`}, "revocation.role", ""},
		{"revocation by key id", revoke(func(s *scene) Revocation { return Revocation{APIKeyID: &s.key.ID} }),
			[]string{`apikey.rotated {"key_id":"KEY","not_after":N} @key:KEY`}, "revocation.api_key_id", "a b"},
		{"revocation of all tokens", revoke(func(s *scene) Revocation { return Revocation{All: true} }),
			[]string{`token.revoked {"before":N} @before`}, "revocation.all", "key"},
		{"revocation of everything", revoke(func(s *scene) Revocation { return Revocation{All: true, Keys: ptr(true)} }),
			[]string{`token.revoked {"before":N,"keys":true} @before`}, "revocation.all", ""},
		{"revocation by time", revoke(func(s *scene) Revocation {
			return Revocation{IssuedBefore: ptr(madeAt(s.t, s.caller.TokenID).Add(time.Millisecond))}
		}), []string{`token.revoked {"before":N} @before`}, "revocation.issued_before", "b key"},
		{"access token revoked by its holder", func(s *scene) (Change, error) { return s.RevokeToken(s.t.Context(), s.caller, s.a.AccessToken) },
			[]string{`token.revoked {"jti":"JTI"} @jti:JTI`}, "token.revoked", "b key"},
		{"refresh token revoked by its holder", func(s *scene) (Change, error) { return s.RevokeToken(s.t.Context(), s.caller, s.b.RefreshToken) },
			[]string{`token.revoked {"session_id":"B"} @session:B`}, "token.revoked", "a key"},
		{"key revoked by its holder", func(s *scene) (Change, error) { return s.RevokeToken(s.t.Context(), s.caller, s.key.Key) },
			[]string{`apikey.rotated {"key_id":"KEY","not_after":N} @key:KEY`}, "token.revoked", "a b"},
		{"signing key rotated", func(s *scene) (Change, error) {
			_, done, err := s.RotateSigningKey(s.t.Context(), s.root, false)
			return done, err
		}, []string{`keys.changed {"hash":"H"} @keys`}, "signing_key.rotated", "a b key"},
		{"signing key rotated in an emergency", func(s *scene) (Change, error) {
			_, done, err := s.RotateSigningKey(s.t.Context(), s.root, true)
			return done, err
		}, []string{`keys.changed {"hash":"H"} @keys`}, "signing_key.rotated", "key"},
		{"refresh token reused", func(s *scene) (Change, error) {
			if _, err := s.Refresh(s.t.Context(), s.b.RefreshToken, Client{}); err != nil {
				return Change{}, err
			}
			s.clock.Advance(RefreshGrace + time.Second)
			_, err := s.Refresh(s.t.Context(), s.b.RefreshToken, Client{})
			if err != ErrInvalidRefreshToken {
				return Change{}, fmt.Errorf("reuse: %v", err)
			}
			return s.endOf(s.b.SessionID), nil
		}, []string{`token.revoked {"session_id":"B"} @session:B`}, "session.reuse", "a key"},
		{"session displaced by a login too many", func(s *scene) (Change, error) {
			s.fill(MaxSessions-2, 0)
			s.login(s.t, s.user.Username)
			return s.endOf(s.a.SessionID), nil
		}, []string{`token.revoked {"session_id":"A"} @session:A`}, "session.displaced", "b key"},
	}
}

// endOf finds the event of a session's end, for calls that don't return it.
func (s *scene) endOf(session string) Change {
	s.t.Helper()
	var e store.Event
	s.update(s.t, func(tx *store.Tx) (err error) {
		e, err = tx.LiveEvent(s.t.Context(), sessionTarget(session), events.TypeTokenRevoked)
		return err
	})
	return Change{EventIDs: []string{e.ID}}
}

func revoke(r func(s *scene) Revocation) func(s *scene) (Change, error) {
	return func(s *scene) (Change, error) {
		rev := r(s)
		rev.Reason = "test"
		return s.Revoke(s.t.Context(), s.root, rev)
	}
}

func madeAt(t *testing.T, id string) time.Time {
	parsed, err := events.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	return time.UnixMilli(parsed.Millis())
}
