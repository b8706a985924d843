package auth

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

func TestRegisterGivesAUserWithALiveAndATestKey(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		r, err := w.Register(t.Context(), Registration{Username: "Vera.K", Password: password, Email: "v@example.com"}, Client{})
		if err != nil {
			t.Fatal(err)
		}
		if r.User.Username != "vera.k" || r.User.Plan != "free" || len(r.User.Roles) != 1 || r.User.Roles[0] != RoleUser || r.User.Disabled {
			t.Errorf("user %+v", r.User)
		}
		for i, mode := range []events.Mode{events.ModeLive, events.ModeTest} {
			c, err := w.AuthenticateKey(t.Context(), r.Keys[i].Key, Client{})
			if err != nil || c.Mode != mode || c.UserID != r.User.ID || c.KeyID != r.Keys[i].ID {
				t.Errorf("key %d: %+v %v", i, c, err)
			}
		}
		_, err = w.Register(t.Context(), Registration{Username: "VERA.K", Password: password}, Client{})
		wantError(t, err, ErrUsernameTaken, "username")
	})
}

func TestRegisterRefusesBadValuesByField(t *testing.T) {
	s := &Service{cfg: Config{PasswordMin: 12}}
	for _, tc := range []struct {
		name  string
		r     Registration
		want  *Error
		field string
	}{
		{"short name", Registration{Username: "ab", Password: password}, ErrInvalidRequest, "username"},
		{"long name", Registration{Username: strings.Repeat("a", 65), Password: password}, ErrInvalidRequest, "username"},
		{"wildcard", Registration{Username: "ab*", Password: password}, ErrInvalidRequest, "username"},
		{"CRLF", Registration{Username: "abc\r\n", Password: password}, ErrInvalidRequest, "username"},
		{"leading dot", Registration{Username: ".abc", Password: password}, ErrInvalidRequest, "username"},
		{"Kelvin sign for k", Registration{Username: "\u212Aarl", Password: password}, ErrInvalidRequest, "username"},
		{"email without domain", Registration{Username: "abc", Password: password, Email: "x@"}, ErrInvalidRequest, "email"},
		{"email with NUL", Registration{Username: "abc", Password: password, Email: "x@y\x00"}, ErrInvalidRequest, "email"},
		{"short password", Registration{Username: "abc", Password: "vK3!uw"}, ErrWeakPassword, "password"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := s.Register(t.Context(), tc.r, Client{})
			wantError(t, err, tc.want, tc.field)
		})
	}
}

func TestLoginRefusesAllAlike(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		disabled := w.register(t, "dora").User
		if _, _, err := w.SetStatus(t.Context(), s.root, disabled.ID, true); err != nil {
			t.Fatal(err)
		}
		for name, l := range map[string]Login{
			"unknown":        {Username: "nobody", Password: password},
			"no such name":   {Username: "no*body\x00", Password: password},
			"wrong password": {Username: "vera", Password: password + "!"},
			"empty password": {Username: "vera"},
			"disabled":       {Username: "dora", Password: password},
			"not UTF-8":      {Username: "vera", Password: "\xff"},
		} {
			if _, err := w.Login(t.Context(), l, Client{}); err != error(ErrInvalidCredentials) {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, err := w.Login(t.Context(), Login{Username: "vera", Password: password, Mode: "prod"}, Client{})
		wantError(t, err, ErrInvalidRequest, "mode")
	})
}

func TestLoginClaims(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user := w.register(t, "vera").User
		tokens, err := w.Login(t.Context(), Login{Username: "VERA", Password: password, Mode: events.ModeTest}, Client{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := peekToken(tokens.AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		if c.Issuer != "http://auth.test" || c.Subject != user.ID || c.Audience != "tocsin" || c.ClientID != "tocsin" ||
			c.SessionID != tokens.SessionID || c.Mode != events.ModeTest || c.Expires-c.IssuedAt != 900 || c.AuthTime != c.IssuedAt ||
			len(c.AMR) != 1 || c.AMR[0] != "pwd" || c.RV <= 0 || c.TV <= 0 || checkID("", c.ID) != nil {
			t.Errorf("claims %+v", c)
		}
		if tokens.ExpiresIn != 900 || tokens.RefreshExpiresIn != 168*3600 || tokens.TokenType != "Bearer" {
			t.Errorf("tokens %+v", tokens)
		}
	})
}

func TestLoginRehashesWhenTheCostsChanged(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		id := w.register(t, "vera").User.ID
		w.hasher = newHasher(argonParams{memory: 128, time: 1, lanes: 1})
		var logins sync.WaitGroup
		for range 4 { // together: whoever comes second finds the other's hash and begins again
			logins.Go(func() {
				if _, err := w.Login(t.Context(), Login{Username: "vera", Password: password}, Client{}); err != nil {
					t.Error(err)
				}
			})
		}
		logins.Wait()
		var user store.User
		w.update(t, func(tx *store.Tx) (err error) {
			user, err = tx.User(t.Context(), id)
			return err
		})
		if !strings.Contains(user.PasswordHash, "m=128,") {
			t.Errorf("hash still %s", user.PasswordHash)
		}
		w.login(t, "vera")
	})
}

// A login that verified the password before a disable, and issues after it, must not give a session.
func TestLoginThatRacesADisableGivesNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		verified, _, err := w.verifyLogin(t.Context(), "vera", password)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.SetStatus(t.Context(), s.root, s.user.ID, true); err != nil {
			t.Fatal(err)
		}
		if _, err := w.openSession(t.Context(), verified, "", events.ModeLive, Client{}); !errors.Is(err, ErrInvalidCredentials) {
			t.Fatalf("disabled: %v", err)
		}
		if _, _, err := w.SetStatus(t.Context(), s.root, s.user.ID, false); err != nil {
			t.Fatal(err)
		}
		if _, err := w.openSession(t.Context(), verified, "", events.ModeLive, Client{}); !errors.Is(err, errUserChanged) {
			t.Fatalf("enabled again: %v", err)
		}
		if _, err := w.DeleteUser(t.Context(), s.root, s.user.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.openSession(t.Context(), verified, "", events.ModeLive, Client{}); !errors.Is(err, ErrInvalidCredentials) {
			t.Fatalf("deleted: %v", err)
		}
	})
}

func TestLoginThatRacesAPasswordChangeGivesNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		verified, _, err := w.verifyLogin(t.Context(), "vera", password)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.ChangePassword(t.Context(), s.caller, password, "another horse battery"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.openSession(t.Context(), verified, "", events.ModeLive, Client{}); !errors.Is(err, errUserChanged) {
			t.Fatalf("got %v", err)
		}
	})
}

// Whatever the order, no session survives a disable that returned.
func TestNoSessionSurvivesADisable(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		var got []Tokens
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				tokens, err := w.Login(t.Context(), Login{Username: "vera", Password: password}, Client{})
				if err == nil {
					mu.Lock()
					got = append(got, tokens)
					mu.Unlock()
				} else if !errors.Is(err, ErrInvalidCredentials) {
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			if _, _, err := w.SetStatus(t.Context(), s.root, s.user.ID, true); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
		if _, _, err := w.SetStatus(t.Context(), s.root, s.user.ID, false); err != nil {
			t.Fatal(err)
		}
		for _, tokens := range got {
			if _, err := w.AuthenticateBearer(t.Context(), tokens.AccessToken, Client{}); !errors.Is(err, ErrUnauthenticated) {
				t.Errorf("a session from before the disable lives: %v", err)
			}
		}
	})
}

func TestBootstrapKeepsARandomPasswordBeforeItCommits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		created, err := w.Bootstrap(t.Context(), BootstrapRequest{Username: "other"})
		if created || err != nil {
			t.Fatalf("an admin exists: %v %v", created, err)
		}
		w.update(t, func(tx *store.Tx) error {
			root, err := w.db.UserByName(t.Context(), "root")
			if err != nil {
				return err
			}
			return tx.DeleteUser(t.Context(), root.ID)
		})
		broken := errors.New("disk full")
		_, err = w.Bootstrap(t.Context(), BootstrapRequest{Username: "boss", Keep: func(string) error { return broken }})
		if !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
		var kept string
		created, err = w.Bootstrap(t.Context(), BootstrapRequest{Username: "boss", Keep: func(p string) error { kept = p; return nil }})
		if !created || err != nil {
			t.Fatalf("%v %v", created, err)
		}
		tokens, err := w.Login(t.Context(), Login{Username: "boss", Password: kept}, Client{})
		if err != nil {
			t.Fatal(err)
		}
		if c := w.caller(t, tokens.AccessToken); w.RequireAdmin(c) != nil {
			t.Error("not an admin")
		}
	})
}
