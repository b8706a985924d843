package auth

import (
	"encoding/json"
	"errors"
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
