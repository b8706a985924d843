package auth

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

func TestTheLastAdminStays(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		root := w.as(t, "root")
		for name, act := range map[string]func() error{
			"demoted":  func() error { _, _, err := w.SetRoles(t.Context(), root, root.UserID, []string{"user"}); return err },
			"disabled": func() error { _, _, err := w.SetStatus(t.Context(), root, root.UserID, true); return err },
			"deleted":  func() error { _, err := w.DeleteUser(t.Context(), root, root.UserID); return err },
		} {
			if err := act(); !errors.Is(err, ErrLastAdmin) {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.caller(t, w.login(t, "root").AccessToken) // nothing happened to it
		if _, err := w.User(t.Context(), root, root.UserID); err != nil {
			t.Errorf("the refusal changed something: %v", err)
		}
		other := w.registerAdmin(t, root, "other")
		if _, _, err := w.SetStatus(t.Context(), root, other.ID, true); err != nil {
			t.Fatal(err)
		}
		if _, err := w.DeleteUser(t.Context(), root, root.UserID); !errors.Is(err, ErrLastAdmin) {
			t.Errorf("a disabled admin counted: %v", err)
		}
	})
}

func TestAdminsWhoRemoveEachOtherLeaveOne(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		root := w.as(t, "root")
		other := w.registerAdmin(t, root, "other")
		second := w.as(t, "other")
		var all sync.WaitGroup
		errs := make([]error, 2)
		all.Go(func() { _, _, errs[0] = w.SetRoles(t.Context(), root, other.ID, nil) })
		all.Go(func() { _, errs[1] = w.DeleteUser(t.Context(), second, root.UserID) })
		all.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("both or none: %v, %v", errs[0], errs[1])
		}
		exists, err := w.adminExists(t.Context())
		if !exists || err != nil {
			t.Fatalf("no admin left: %v", err)
		}
	})
}

func TestAdminCallsNeedALivingLiveAdmin(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		test, err := w.Login(t.Context(), Login{Username: "root", Password: password, Mode: events.ModeTest}, Client{})
		if err != nil {
			t.Fatal(err)
		}
		other := w.registerAdmin(t, s.root, "other")
		demoted, revoked := w.as(t, "other"), w.as(t, "root")
		if _, _, err := w.SetRoles(t.Context(), s.root, other.ID, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Logout(t.Context(), revoked); err != nil {
			t.Fatal(err)
		}
		for name, tc := range map[string]struct {
			c    Caller
			want *Error
		}{
			"user":              {s.caller, ErrForbidden},
			"test token":        {w.caller(t, test.AccessToken), ErrForbidden},
			"demoted meanwhile": {demoted, ErrForbidden},
			"logged out":        {revoked, ErrUnauthenticated},
			"nobody":            {Caller{}, ErrForbidden},
		} {
			for call, err := range adminCalls(t, w, tc.c, s.user.ID) {
				if !errors.Is(err, tc.want) {
					t.Errorf("%s: %s: %v, want %s", name, call, err, tc.want.Code)
				}
			}
		}
	})
}

func adminCalls(t *testing.T, w *world, c Caller, id string) map[string]error {
	ctx, errs := t.Context(), map[string]error{}
	_, errs["users"] = w.Users(ctx, c, UserQuery{})
	_, errs["user"] = w.User(ctx, c, id)
	_, errs["delete"] = w.DeleteUser(ctx, c, id)
	_, _, errs["roles"] = w.SetRoles(ctx, c, id, []string{"x"})
	_, _, errs["plan"] = w.SetPlan(ctx, c, id, "x")
	_, _, errs["status"] = w.SetStatus(ctx, c, id, true)
	_, errs["revoke user"] = w.RevokeUser(ctx, c, id)
	_, errs["revoke"] = w.Revoke(ctx, c, Revocation{UserID: &id})
	_, errs["revocations"] = w.Revocations(ctx, c, PageRequest{})
	_, errs["audit"] = w.Audit(ctx, c, PageRequest{})
	_, errs["keys"] = w.AllAPIKeys(ctx, c, KeyQuery{})
	_, errs["services"] = w.Services(ctx, c)
	_, errs["add service"] = w.AddService(ctx, c, "cars")
	errs["remove service"] = w.RemoveService(ctx, c, "cars")
	_, _, errs["signing key"] = w.RotateSigningKey(ctx, c, true)
	return errs
}

func TestRepeatsChangeNothingAndReturnTheEarlierEvent(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		ctx := t.Context()
		for name, act := range map[string]func() (Change, error){
			"roles": func() (Change, error) {
				_, d, err := w.SetRoles(ctx, s.root, s.user.ID, []string{"b", "a", "b"})
				return d, err
			},
			"session": func() (Change, error) { return w.Revoke(ctx, s.root, Revocation{SessionID: &s.b.SessionID}) },
			"jti":     func() (Change, error) { return w.Revoke(ctx, s.root, Revocation{JTI: ptr(s.caller.TokenID)}) },
			"key":     func() (Change, error) { return w.Revoke(ctx, s.root, Revocation{APIKeyID: &s.key.ID}) },
			"time": func() (Change, error) {
				return w.Revoke(ctx, s.root, Revocation{IssuedBefore: ptr(time.Unix(1000, 0))})
			},
		} {
			first, err := act()
			if err != nil || len(first.EventIDs) != 1 {
				t.Fatalf("%s: %+v %v", name, first, err)
			}
			nudges := w.nudges.Load()
			again, err := act()
			if err != nil || again.Changed() || !slices.Equal(again.Earlier, first.EventIDs) {
				t.Errorf("%s: again %+v %v, want the earlier %v", name, again, err, first.EventIDs)
			}
			if w.nudges.Load() != nudges {
				t.Errorf("%s: nudged for nothing", name)
			}
		}
		done, err := w.Revoke(ctx, s.root, Revocation{Role: ptr("nobody-has-this")})
		if err != nil || done.Changed() || len(done.Earlier) > 0 {
			t.Errorf("a role that nobody has: %+v %v", done, err)
		}
		done, err = w.Revoke(ctx, s.root, Revocation{Token: ptr(newRefreshToken())})
		if err != nil || done.Changed() {
			t.Errorf("an unknown refresh token: %+v %v", done, err)
		}
	})
}

func TestRevocationsAreCheckedByField(t *testing.T) {
	const id = "01890a5d-ac96-774b-bcce-b302099a8057"
	for _, tc := range []struct {
		name  string
		r     Revocation
		field string
	}{
		{"none", Revocation{}, ""},
		{"two", Revocation{All: true, Role: ptr("x")}, ""},
		{"jti", Revocation{JTI: ptr("x")}, "jti"},
		{"upper-case id", Revocation{JTI: ptr(strings.ToUpper(id))}, "jti"},
		{"session", Revocation{SessionID: ptr("")}, "session_id"},
		{"user", Revocation{UserID: ptr(">")}, "user_id"},
		{"no users", Revocation{UserIDs: []string{}}, "user_ids"},
		{"too many users", Revocation{UserIDs: slices.Repeat([]string{id}, 1001)}, "user_ids"},
		{"users", Revocation{UserIDs: []string{id, "*"}}, "user_ids"},
		{"role", Revocation{Role: ptr("a b")}, "role"},
		{"key", Revocation{APIKeyID: ptr("k")}, "api_key_id"},
		{"before 1970", Revocation{IssuedBefore: ptr(time.Unix(-5, 0))}, "issued_before"},
		{"user without keys", Revocation{UserID: ptr(id), Keys: ptr(false)}, "keys"},
		{"session with keys", Revocation{SessionID: ptr(id), Keys: ptr(true)}, "keys"},
		{"long reason", Revocation{All: true, Reason: strings.Repeat("x", 257)}, "reason"},
		{"reason with NUL", Revocation{All: true, Reason: "x\x00"}, "reason"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := (&Service{}).Revoke(t.Context(), Caller{}, tc.r)
			wantError(t, err, ErrInvalidRequest, tc.field)
		})
	}
}

func TestRevocationOfUnknownIds(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		const unknown = "01890a5d-ac96-774b-bcce-b302099a8057"
		for name, r := range map[string]Revocation{
			"session": {SessionID: ptr(unknown)}, "user": {UserID: ptr(unknown)},
			"users": {UserIDs: []string{s.user.ID, unknown}}, "key": {APIKeyID: ptr(unknown)},
		} {
			_, err := w.Revoke(t.Context(), s.root, r)
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := s.living(); got != "a b key" {
			t.Errorf("living %q", got)
		}
		done, err := w.Revoke(t.Context(), s.root, Revocation{JTI: ptr(unknown)})
		if err != nil || !done.Changed() {
			t.Errorf("an unknown jti must be accepted: %+v %v", done, err)
		}
		_, err = w.Revoke(t.Context(), s.root, Revocation{Token: ptr("nonsense")})
		wantError(t, err, ErrInvalidRequest, "token")
		_, err = w.Revoke(t.Context(), s.root, Revocation{IssuedBefore: ptr(time.Now().Add(time.Hour))})
		wantError(t, err, ErrInvalidRequest, "issued_before")
	})
}

func TestCredentialsIssuedAfterARevocationLive(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		for name, r := range map[string]Revocation{
			"all": {All: true, Keys: ptr(true)}, "user": {UserID: &s.user.ID}, "role": {Role: ptr("user")},
		} {
			if _, err := w.Revoke(t.Context(), w.as(t, "root"), r); err != nil {
				t.Fatal(err)
			}
			s.caller = w.as(t, "vera")
			if k := s.key1(t, NewAPIKey{Name: "after", Mode: events.ModeLive}); !s.works(k.Key) {
				t.Errorf("%s: a key made afterwards is dead", name)
			}
		}
	})
}

func TestListsArePaged(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		root := w.as(t, "root")
		for i := range 6 {
			w.register(t, "user-"+strconv.Itoa(i))
		}
		var names []string
		q := UserQuery{PageRequest: PageRequest{Limit: 2}, Text: "USER-"}
		for {
			page, err := w.Users(t.Context(), root, q)
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range page.Items {
				names = append(names, u.Username)
			}
			if page.NextCursor == "" {
				break
			}
			q.Cursor = page.NextCursor
		}
		if got := strings.Join(names, " "); got != "user-0 user-1 user-2 user-3 user-4 user-5" {
			t.Errorf("users %s", got)
		}
		c := w.as(t, "user-0")
		w.login(t, "user-0")
		w.login(t, "user-0")
		first, err := w.Sessions(t.Context(), c, PageRequest{Limit: 2})
		if err != nil || len(first.Items) != 2 || first.NextCursor == "" {
			t.Fatalf("%+v %v", first, err)
		}
		second, err := w.Sessions(t.Context(), c, PageRequest{Limit: 2, Cursor: first.NextCursor})
		if err != nil || len(second.Items) != 1 || second.NextCursor != "" || !second.Items[0].Current {
			t.Fatalf("%+v %v", second, err)
		}
		_, err = w.Audit(t.Context(), root, PageRequest{Limit: 201})
		wantError(t, err, ErrInvalidRequest, "limit")
		_, err = w.Audit(t.Context(), root, PageRequest{Cursor: "x"})
		wantError(t, err, ErrInvalidRequest, "cursor")
	})
}

func TestLiveRevocationsAreListed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		if _, err := w.Revoke(t.Context(), s.root, Revocation{SessionID: &s.b.SessionID, Reason: "lost laptop"}); err != nil {
			t.Fatal(err)
		}
		page, err := w.Revocations(t.Context(), s.root, PageRequest{})
		if err != nil || len(page.Items) != 1 {
			t.Fatalf("%+v %v", page, err)
		}
		got := page.Items[0]
		if got.Reason != "lost laptop" || got.Actor != s.root.UserID || got.Seq != nil || got.Published || !strings.Contains(string(got.Content), s.b.SessionID) {
			t.Errorf("%+v", got)
		}
	})
}

func TestServicesJoinAndLeaveTheBus(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		root := w.as(t, "root")
		added, err := w.AddService(t.Context(), root, "cars")
		if err != nil || added.Seed != "Scars" || added.Config != "account cars" || !slices.Equal(w.bus.members, []string{"cars"}) {
			t.Fatalf("%+v %v %v", added, w.bus.members, err)
		}
		_, err = w.AddService(t.Context(), root, "cars")
		wantError(t, err, ErrConflict, "name")
		_, err = w.AddService(t.Context(), root, "cars.>")
		wantError(t, err, ErrInvalidRequest, "name")
		if err := w.RemoveService(t.Context(), root, "cars"); err != nil || len(w.bus.members) != 0 {
			t.Fatalf("%v %v", w.bus.members, err)
		}
		wantError(t, w.RemoveService(t.Context(), root, "cars"), ErrNotFound, "")
		all, err := w.Services(t.Context(), root)
		if err != nil || len(all) != 0 {
			t.Fatalf("%v %v", all, err)
		}
	})
}

func TestDirectoryIsForItsRole(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		_, err := w.Directory(t.Context(), s.caller, s.user.ID)
		wantError(t, err, ErrForbidden, "")
		if _, _, err := w.SetRoles(t.Context(), s.root, s.user.ID, []string{RoleDirectory}); err != nil {
			t.Fatal(err)
		}
		c, err := w.AuthenticateKey(t.Context(), s.key.Key, Client{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.Directory(t.Context(), c, s.root.UserID)
		if err != nil || got.Username != "root" {
			t.Fatalf("%+v %v", got, err)
		}
		tokens, err := w.Login(t.Context(), Login{Username: "vera", Password: password, Mode: events.ModeTest}, Client{})
		if err != nil {
			t.Fatal(err)
		}
		byKey, err := w.AuthenticateKey(t.Context(), s.key1(t, NewAPIKey{Name: "test", Mode: events.ModeTest}).Key, Client{})
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []Caller{w.caller(t, tokens.AccessToken), byKey} {
			_, err := w.Directory(t.Context(), test, s.root.UserID)
			wantError(t, err, ErrForbidden, "")
		}
	})
}
