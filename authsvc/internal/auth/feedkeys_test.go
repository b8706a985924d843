package auth

import (
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/keyring"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

func TestOnlyAdminsRotateFeedKeysOneAtATime(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		root := w.as(t, "root")
		made, err := w.RotateFeedKey(t.Context(), root, time.Hour, false)
		if err != nil {
			t.Fatal(err)
		}
		w.update(t, func(tx *store.Tx) error {
			if wait := made.SignsAt.Sub(fromMicros(tx.Now())); wait <= 0 || wait > time.Hour {
				t.Errorf("it signs in %v", wait)
			}
			return nil
		})
		if _, err := w.RotateFeedKey(t.Context(), root, 0, true); err != nil {
			t.Fatal(err)
		}
		_, err = w.RotateFeedKey(t.Context(), root, time.Hour, true)
		wantError(t, err, &Error{Code: CodeInvalidRequest}, "ahead")
		_, err = w.RotateFeedKey(t.Context(), root, MaxFeedKeyAhead+1, false)
		wantError(t, err, &Error{Code: CodeInvalidRequest}, "ahead")
		w.register(t, "alice")
		_, err = w.RotateFeedKey(t.Context(), w.as(t, "alice"), time.Hour, false)
		wantError(t, err, ErrForbidden, "")
		w.ring.waits = keyring.ErrFeedKeyWaits
		_, err = w.RotateFeedKey(t.Context(), root, time.Hour, false)
		wantError(t, err, ErrConflict, "")
		page, err := w.Audit(t.Context(), root, PageRequest{})
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, e := range page.Items {
			if e.Action == "feed_key.rotated" && e.Target == targetFeedKeys {
				seen++
			}
		}
		if seen != 2 {
			t.Errorf("%d rotations in the audit log, want 2", seen)
		}
	})
}
