package auth

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
)

// waits reports whether what will send on done comes to wait for a lock, instead of sending. On SQLite a transaction that
// is open keeps all others waiting.
func waits(t *testing.T, url string, done <-chan error) bool {
	t.Helper()
	if strings.HasPrefix(url, "sqlite:") {
		return true
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for t.Context().Err() == nil {
		var waiting int
		err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND datname = current_database()`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
		if waiting > 0 {
			return true
		}
		if len(done) > 0 {
			return false
		}
	}
	return false
}

func TestAnAdminWhoIsBeingDemotedCannotUndoIt(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		root := w.as(t, "root")
		w.registerAdmin(t, root, "other")
		other := w.as(t, "other")
		done := make(chan error, 1)
		_, err := w.change(t.Context(), root, func(tx *work) error {
			if _, err := tx.LockAdmins(t.Context()); err != nil {
				return err
			}
			user, err := tx.LockUser(t.Context(), other.UserID)
			if err != nil {
				return err
			}
			user.Roles = []string{}
			if err := tx.authorize(t.Context(), user, deed{action: "user.roles"}); err != nil {
				return err
			}
			go func() {
				_, _, err := w.SetRoles(context.Background(), other, other.UserID, []string{RoleAdmin})
				done <- err
			}()
			if !waits(t, url, done) {
				t.Error("the call didn't wait for the demotion")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, ErrForbidden) {
			t.Errorf("promoting oneself again: %v", err)
		}
	})
}

// A credential that is being issued to a session's holder is there before the session's end returns, or never.
func TestTheEndOfASessionWaitsForWhatItIssues(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		s := newScene(t, w)
		done := make(chan error, 1)
		_, err := w.change(t.Context(), s.caller, func(tx *work) error {
			if _, err := tx.lockSelf(t.Context()); err != nil {
				return err
			}
			go func() {
				_, err := w.Revoke(context.Background(), s.root, Revocation{SessionID: &s.a.SessionID})
				done <- err
			}()
			if !waits(t, url, done) {
				t.Error("the session was ended under the transaction")
			}
			return nil
		})
		if err = errors.Join(err, <-done); err != nil {
			t.Fatal(err)
		}
	})
}
