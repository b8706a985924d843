package auth

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

func TestRefreshRotates(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.register(t, "vera")
		first := w.login(t, "vera")
		second, err := w.Refresh(t.Context(), first.RefreshToken, Client{})
		if err != nil {
			t.Fatal(err)
		}
		if second.RefreshToken == first.RefreshToken || second.SessionID != first.SessionID {
			t.Errorf("no new token of the same session: %v", second.SessionID)
		}
		if c := w.caller(t, second.AccessToken); c.SessionID != first.SessionID {
			t.Error("the new access token is of another session")
		}
		if _, err := w.Refresh(t.Context(), second.RefreshToken, Client{}); err != nil {
			t.Errorf("the successor: %v", err)
		}
	})
}

func TestRefreshWithinGraceGivesTheSameSuccessorAndIsAudited(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.register(t, "vera")
		inTime(t, 2*time.Second, func() error {
			tokens := w.login(t, "vera")
			first, err := w.Refresh(t.Context(), tokens.RefreshToken, Client{})
			if err != nil {
				return err
			}
			w.clock.Advance(RefreshGrace - 2*time.Second)
			again, err := w.Refresh(t.Context(), tokens.RefreshToken, Client{})
			if err != nil || again.RefreshToken != first.RefreshToken {
				return fmt.Errorf("again: same=%v %w", again.RefreshToken == first.RefreshToken, err)
			}
			return nil
		})
		w.newestAudit(t, "session.refresh_repeated")
	})
}

// inTime runs what has to be done within limit, and again where the machine stood still for longer, which shows nothing.
func inTime(t *testing.T, limit time.Duration, run func() error) {
	t.Helper()
	for {
		began := time.Now()
		err := run()
		if err == nil {
			return
		}
		if took := time.Since(began); took < limit {
			t.Fatalf("after %v: %v", took, err)
		}
	}
}

func TestConcurrentRefreshesGetOneSuccessor(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.register(t, "vera")
		inTime(t, RefreshGrace, func() error {
			tokens := w.login(t, "vera")
			const clients = 8
			got := make([]Tokens, clients)
			errs := make([]error, clients)
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() { got[i], errs[i] = w.Refresh(t.Context(), tokens.RefreshToken, Client{}) })
			}
			all.Wait()
			for i := range clients {
				if errs[i] == nil && got[i].RefreshToken != got[0].RefreshToken {
					errs[i] = fmt.Errorf("client %d has a successor of its own", i)
				}
			}
			return errors.Join(errs...)
		})
	})
}

func TestReuseKillsTheSuccessorToo(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.register(t, "vera")
		stolen := w.login(t, "vera")
		successor, err := w.Refresh(t.Context(), stolen.RefreshToken, Client{})
		if err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(RefreshGrace + time.Second)
		for _, token := range []string{stolen.RefreshToken, successor.RefreshToken, stolen.RefreshToken} {
			if _, err := w.Refresh(t.Context(), token, Client{}); !errors.Is(err, ErrInvalidRefreshToken) {
				t.Fatalf("got %v", err)
			}
		}
		if _, err := w.AuthenticateBearer(t.Context(), successor.AccessToken, Client{}); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("the access token still works: %v", err)
		}
	})
}

func TestRefreshIsRefusedOnceAnythingEndedTheSession(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *scene) error{
		"logout": func(t *testing.T, s *scene) error { _, err := s.Logout(t.Context(), s.caller); return err },
		"disabled": func(t *testing.T, s *scene) error {
			_, _, err := s.SetStatus(t.Context(), s.root, s.user.ID, true)
			return err
		},
		"enabled again": func(t *testing.T, s *scene) error {
			if _, _, err := s.SetStatus(t.Context(), s.root, s.user.ID, true); err != nil {
				return err
			}
			_, _, err := s.SetStatus(t.Context(), s.root, s.user.ID, false)
			return err
		},
		"deleted": func(t *testing.T, s *scene) error { _, err := s.DeleteUser(t.Context(), s.root, s.user.ID); return err },
		"all": func(t *testing.T, s *scene) error {
			_, err := s.Revoke(t.Context(), s.root, Revocation{All: true})
			return err
		},
		"idle": func(t *testing.T, s *scene) error { s.clock.Advance(s.cfg.RefreshIdle); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				s := newScene(t, w)
				if err := end(t, s); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Refresh(t.Context(), s.a.RefreshToken, Client{}); !errors.Is(err, ErrInvalidRefreshToken) {
					t.Fatalf("got %v", err)
				}
			})
		})
	}
}

func TestRefreshUseMovesTheIdleLimitButNotTheAbsoluteOne(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.register(t, "vera")
		tokens := w.login(t, "vera")
		for range 5 { // five times six days
			w.clock.Advance(144 * time.Hour)
			next, err := w.Refresh(t.Context(), tokens.RefreshToken, Client{})
			if err != nil {
				if w.sessionAge(t, tokens.SessionID) < w.cfg.RefreshTTL {
					t.Fatal(err)
				}
				return
			}
			tokens = next
		}
		t.Fatal("the session outlived its absolute limit")
	})
}

func (w *world) sessionAge(t *testing.T, id string) (age time.Duration) {
	w.update(t, func(tx *store.Tx) error {
		session, err := tx.Session(t.Context(), id)
		age = time.Duration(tx.Now()-session.CreatedAt) * time.Microsecond
		return err
	})
	return age
}

func TestRefreshTakesTheRolesOfThisMoment(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		if _, _, err := w.SetRoles(t.Context(), s.root, s.user.ID, []string{"editor"}); err != nil {
			t.Fatal(err)
		}
		next, err := w.Refresh(t.Context(), s.a.RefreshToken, Client{})
		if err != nil {
			t.Fatal(err)
		}
		claims, err := peekToken(next.AccessToken)
		if err != nil || len(claims.Roles) != 1 || claims.Roles[0] != "editor" {
			t.Fatalf("roles %v, %v", claims.Roles, err)
		}
	})
}

func TestMalformedRefreshTokensAreRefusedWithoutTheDatabase(t *testing.T) {
	s := &Service{}
	for _, token := range []string{"", "tcr_", "tcr_" + string(make([]byte, 43)), newRefreshToken() + "x", "x" + newRefreshToken()[1:]} {
		if _, err := s.Refresh(t.Context(), token, Client{}); !errors.Is(err, ErrInvalidRefreshToken) {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func TestDeadSessionsArePrunedAndStayDead(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		s := newScene(t, w)
		if _, err := w.Logout(t.Context(), s.caller); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(pruneSessionsAfter - time.Hour)
		keep := w.login(t, "vera")
		w.clock.Advance(2 * time.Hour)
		if err := w.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		err := w.view(t.Context(), func(tx *store.Tx) error { _, err := tx.Session(t.Context(), s.a.SessionID); return err })
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("still there: %v", err)
		}
		if _, err := w.Refresh(t.Context(), s.a.RefreshToken, Client{}); !errors.Is(err, ErrInvalidRefreshToken) {
			t.Errorf("got %v", err)
		}
		if _, err := w.Refresh(t.Context(), keep.RefreshToken, Client{}); err != nil {
			t.Errorf("a living session was pruned: %v", err)
		}
	})
}

// A call deletes no more than its rounds do, so that the dispatcher's other duties don't wait for a pile.
func TestOneCallPrunesABoundedPile(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		var holders []store.QuotaHolder
		for i := range pruneBatch + 1 {
			key := store.HolderKey{ServiceKey: store.ServiceKey{QuotaKey: store.QuotaKey{UserID: "ada", Resource: "jobs"}, Service: "cars"}, Start: strconv.Itoa(i)}
			holders = append(holders, store.QuotaHolder{HolderKey: key, AskedAt: 1})
		}
		if err := w.db.Update(t.Context(), func(tx *store.Tx) error { return tx.SaveQuotaHolders(t.Context(), holders) }); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{1, 0} {
			if err := w.prune(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			if err := w.view(t.Context(), func(tx *store.Tx) error {
				counts, err := tx.CountQuotaHolders(t.Context(), []store.ServiceKey{holders[0].ServiceKey}, 1000)
				if counts[holders[0].ServiceKey] != want {
					t.Errorf("%v are left, not %d", counts, want)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
