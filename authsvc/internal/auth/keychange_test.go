package auth

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAKeysEndOnlyComesNearer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		if _, err := s.shorten(2 * time.Hour); err != nil {
			t.Fatal(err)
		}
		_, err := s.shorten(3 * time.Hour)
		var refusal *Error
		if !errors.As(err, &refusal) || refusal.Code != CodeInvalidRequest || refusal.Field != "expires_at" {
			t.Errorf("later: %v", err)
		}
		if done, err := s.shorten(time.Hour); err != nil || !done.Changed() {
			t.Errorf("earlier: %v, %v", done, err)
		}
		s.clock.Advance(time.Hour)
		if s.living() != "" { // the tokens have expired as well
			t.Errorf("living %q after the end", s.living())
		}
		s.caller = s.as(t, s.user.Username)
		// It has ended by the clock alone, which may be set back: now for good.
		if done, err := s.shorten(0); err != nil || !done.Changed() {
			t.Errorf("ended already: %v, %v", done, err)
		}
		done, err := s.shorten(0)
		if err != nil || done.Changed() || len(done.Earlier) != 1 {
			t.Errorf("again: %+v, %v", done, err)
		}
		s.clock.Advance(-time.Hour)
		if got := s.living(); got != "a b" {
			t.Errorf("living %q after the clock was set back", got)
		}
	})
}

func TestARotationShowsBothKeysAndItsOverlapCanBeEndedEarly(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		r, _, err := s.RotateAPIKey(t.Context(), s.caller, s.key.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		shown := func() (old, next APIKey) {
			page, err := s.APIKeys(t.Context(), s.caller, PageRequest{Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range page.Items {
				switch k.ID {
				case s.key.ID:
					old = k
				case r.Key.ID:
					next = k
				}
			}
			return old, next
		}
		old, next := shown()
		if old.Status != KeyActive || old.Successor != next.ID || old.ExpiresAt == nil || next.Status != KeyActive || next.CreatedBy != s.user.ID {
			t.Errorf("in the overlap: %+v and %+v", old, next)
		}
		if _, err := s.shorten(0); err != nil {
			t.Fatal(err)
		}
		if old, next = shown(); old.Status != KeyExpired || old.Successor != next.ID || next.Status != KeyActive {
			t.Errorf("after it: %+v and %+v", old, next)
		}
		if _, err := s.AuthenticateKey(t.Context(), r.Key.Key, Client{}); err != nil {
			t.Errorf("the successor: %v", err)
		}
	})
}

func TestAdminsChangeAnybodysKeyAndNobodyElseDoes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		other := s.register(t, "mallory")
		mallory := s.as(t, "mallory")
		suspend := APIKeyPatch{Disabled: ptr(true)}
		for name, c := range map[string]Caller{"another user": mallory, "the owner": s.caller, "a key": keyCaller(t, s, other.Keys[0].Key)} {
			if _, _, err := s.UpdateAnyAPIKey(t.Context(), c, s.key.ID, suspend); !errors.Is(err, ErrForbidden) {
				t.Errorf("%s suspends: %v", name, err)
			}
			if _, err := s.DeleteAnyAPIKey(t.Context(), c, s.key.ID); !errors.Is(err, ErrForbidden) {
				t.Errorf("%s deletes: %v", name, err)
			}
		}
		if _, _, err := s.UpdateAPIKey(t.Context(), mallory, s.key.ID, suspend); !errors.Is(err, ErrNotFound) {
			t.Errorf("another's key: %v", err)
		}
		if _, _, err := s.UpdateAnyAPIKey(t.Context(), s.root, s.user.ID, suspend); !errors.Is(err, ErrNotFound) {
			t.Errorf("no key: %v", err)
		}
		shown, done, err := s.UpdateAnyAPIKey(t.Context(), s.root, s.key.ID, suspend)
		if err != nil || !done.Changed() || shown.Status != KeySuspended {
			t.Errorf("%+v, %v", shown, err)
		}
		var detail map[string]any
		row := s.newestAudit(t, "api_key.suspended")
		if err := json.Unmarshal([]byte(row.Detail), &detail); err != nil {
			t.Fatal(err)
		}
		if row.Actor != s.root.UserID || detail["user"] != s.user.ID || detail["mode"] != "live" || detail["actor_mode"] != "live" {
			t.Errorf("audit row %+v", row)
		}
		if _, _, err := s.UpdateAnyAPIKey(t.Context(), s.root, s.key.ID, APIKeyPatch{Disabled: ptr(false)}); err != nil || s.living() != "a b key" {
			t.Errorf("resumed: %v, living %q", err, s.living())
		}
	})
}

// suspend suspends or resumes the scene's key, as its owner or as the admin.
func (s *scene) suspend(by Suspender, on bool) (APIKey, Change, error) {
	if by == ByAdmin {
		return s.UpdateAnyAPIKey(s.t.Context(), s.root, s.key.ID, APIKeyPatch{Disabled: &on})
	}
	return s.UpdateAPIKey(s.t.Context(), s.caller, s.key.ID, APIKeyPatch{Disabled: &on})
}

func TestWhatAnAdminSuspendedOnlyAnAdminResumes(t *testing.T) {
	type step struct {
		by      Suspender
		on      bool
		refused bool
		changed bool
		shown   Suspender
	}
	for name, steps := range map[string][]step{
		"held":                    {{ByAdmin, true, false, true, ByAdmin}, {ByOwner, false, true, false, ByAdmin}, {ByAdmin, false, false, true, ""}},
		"the owner suspends too":  {{ByAdmin, true, false, true, ByAdmin}, {ByOwner, true, false, false, ByAdmin}, {ByOwner, false, true, false, ByAdmin}},
		"an admin takes it over":  {{ByOwner, true, false, true, ByOwner}, {ByAdmin, true, false, true, ByAdmin}, {ByOwner, false, true, false, ByAdmin}},
		"twice":                   {{ByAdmin, true, false, true, ByAdmin}, {ByAdmin, true, false, false, ByAdmin}},
		"an admin lifts it":       {{ByOwner, true, false, true, ByOwner}, {ByAdmin, false, false, true, ""}, {ByAdmin, false, false, false, ""}},
		"the owner's own":         {{ByOwner, true, false, true, ByOwner}, {ByOwner, false, false, true, ""}, {ByOwner, false, false, false, ""}},
		"the owner's, afterwards": {{ByAdmin, true, false, true, ByAdmin}, {ByAdmin, false, false, true, ""}, {ByOwner, true, false, true, ByOwner}, {ByOwner, false, false, true, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				s := newScene(t, w)
				for n, step := range steps {
					_, done, err := s.suspend(step.by, step.on)
					if errors.Is(err, ErrForbidden) != step.refused || (err != nil) != step.refused || done.Changed() != step.changed {
						t.Fatalf("step %d: %+v %v", n, done, err)
					}
					keys, err := s.APIKeys(t.Context(), s.caller, PageRequest{})
					if err != nil {
						t.Fatal(err)
					}
					key := keys.Items[slices.IndexFunc(keys.Items, func(k APIKey) bool { return k.ID == s.key.ID })]
					if key.DisabledBy != step.shown || key.Disabled != (step.shown != "") || s.works(s.key.Key) == key.Disabled {
						t.Errorf("step %d: %+v", n, key)
					}
					if !step.changed {
						continue
					}
					action := map[bool]string{true: "api_key.suspended", false: "api_key.resumed"}[step.on]
					if row := s.newestAudit(t, action); !strings.Contains(row.Detail, `"by":"`+string(step.by)+`"`) {
						t.Errorf("step %d: audit %s", n, row.Detail)
					}
				}
			})
		})
	}
}

// Whatever its owner does with a key that an admin suspended, nothing that works comes of it.
func TestAHeldKeyGivesItsOwnerNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		s.hire(t)
		before := s.wantGrantOfKey()
		grant, _ := s.exchange(t, before)
		own, err := w.ClientCredentials(t.Context(), w.authenticate(t, s.key.Key), TokenRequest{})
		if err != nil {
			t.Fatal(err)
		}
		by := w.authenticate(t, s.key.Key)
		if _, _, err := s.suspend(ByAdmin, true); err != nil {
			t.Fatal(err)
		}
		for name, token := range map[string]string{"job grant": grant.AccessToken, "token of the key": own.AccessToken} {
			if w.alive(t, token) {
				t.Errorf("the %s lives", name)
			}
		}
		if _, err := w.ClientCredentials(t.Context(), by, TokenRequest{}); err == nil {
			t.Error("client_credentials gives a token")
		}
		for name, x := range map[string]Exchange{"a grant": before, "a token": use(grant)} {
			if _, err := w.Exchange(t.Context(), s.client, x); err == nil {
				t.Errorf("an exchange gives %s", name)
			}
		}
		for _, overlap := range []time.Duration{0, time.Hour} {
			_, _, err := s.RotateAPIKey(t.Context(), s.caller, s.key.ID, overlap)
			wantError(t, err, ErrConflict, "")
		}
		patch := APIKeyPatch{Name: ptr("other"), Disabled: ptr(false)}
		_, _, err = s.UpdateAPIKey(t.Context(), s.caller, s.key.ID, patch)
		wantError(t, err, ErrForbidden, "")
		if _, err := s.shorten(time.Hour); err != nil {
			t.Error(err)
		}
		shown, _, err := s.UpdateAPIKey(t.Context(), s.caller, s.key.ID, APIKeyPatch{Name: ptr("another")})
		if err != nil || shown.Name != "another" || shown.DisabledBy != ByAdmin {
			t.Errorf("a name and a nearer end: %+v %v", shown, err)
		}
		if s.works(s.key.Key) {
			t.Error("the key works")
		}
		if done, err := s.DeleteAPIKey(t.Context(), s.caller, s.key.ID); err != nil || !done.Changed() {
			t.Errorf("the owner may end it: %v", err)
		}
	})
}

// An admin who holds a key of another admin isn't overruled where keys are managed by their owners.
func TestAnAdminsOwnKeyIsHeldToo(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		if _, _, err := s.SetRoles(t.Context(), s.root, s.user.ID, []string{"admin", "user"}); err != nil {
			t.Fatal(err)
		}
		owner := s.as(t, "vera")
		if _, _, err := s.suspend(ByAdmin, true); err != nil {
			t.Fatal(err)
		}
		_, _, err := s.UpdateAPIKey(t.Context(), owner, s.key.ID, APIKeyPatch{Disabled: ptr(false)})
		wantError(t, err, ErrForbidden, "")
		if _, _, err := s.UpdateAnyAPIKey(t.Context(), owner, s.key.ID, APIKeyPatch{Disabled: ptr(false)}); err != nil {
			t.Errorf("as an admin: %v", err)
		}
	})
}

func keyCaller(t *testing.T, s *scene, key string) Caller {
	t.Helper()
	c, err := s.AuthenticateKey(t.Context(), key, Client{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestReportedKeysDieWhateverTheirState(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		made := s.register(t, "ada")
		ada := s.as(t, "ada")
		suspended, deleted := made.Keys[0], made.Keys[1]
		if _, _, err := s.UpdateAPIKey(t.Context(), ada, suspended.ID, APIKeyPatch{Disabled: ptr(true)}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.DeleteAPIKey(t.Context(), ada, deleted.ID); err != nil {
			t.Fatal(err)
		}
		from := Client{IP: "192.0.2.7"}
		report, err := s.ReportKeys(t.Context(), []string{s.key.Key, suspended.Key, deleted.Key, "tcs_live_x"}, from)
		if err != nil || report.Revoked != 2 || report.Unknown != 1 || report.Malformed != 1 || report.Dead != 0 {
			t.Errorf("%+v, %v", report, err)
		}
		row := s.newestAudit(t, "api_key.reported")
		if row.IP != from.IP || row.Actor != actorSystem {
			t.Errorf("audit row %+v", row)
		}
		if _, _, err := s.UpdateAPIKey(t.Context(), ada, suspended.ID, APIKeyPatch{Disabled: ptr(false)}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.AuthenticateKey(t.Context(), suspended.Key, Client{}); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("a reported key that is resumed: %v", err)
		}
		again, err := s.ReportKeys(t.Context(), []string{s.key.Key, suspended.Key}, from)
		if err != nil || again.Dead != 2 || again.Change.Changed() {
			t.Errorf("again: %+v, %v", again, err)
		}
		many := make([]string, MaxReported+1)
		if _, err := s.ReportKeys(t.Context(), many, from); !errors.Is(err, ErrInvalidRequest) {
			t.Errorf("too many: %v", err)
		}
	})
}
