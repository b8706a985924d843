package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

func (s *scene) spend(t *testing.T, grants ...string) {
	t.Helper()
	if err := s.SpendGrants(t.Context(), s.client, grants); err != nil {
		t.Fatal(err)
	}
}

func TestNothingComesOfASpentGrantAndWhatCameOfItLivesOn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p := newWorkplace(t, w)
		grant, claims := p.exchange(t, p.wantGrant())
		other, _ := p.exchange(t, p.wantGrantOfKey())
		token, _ := p.exchange(t, use(grant))
		for range 2 { // twice is once
			p.spend(t, grant.AccessToken)
		}
		if _, err := w.Exchange(t.Context(), p.client, use(grant)); !errors.Is(err, ErrInvalidGrant) {
			t.Errorf("exchanged: %v", err)
		}
		p.exchange(t, use(other))
		p.wantAlive(t, token.AccessToken, true)
		if _, _, err := p.SetRoles(t.Context(), p.root, p.root.UserID, []string{RoleAdmin, RoleIntrospect}); err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string]bool{grant.AccessToken: false, other.AccessToken: true} {
			if found, err := w.Introspect(t.Context(), w.as(t, "root"), text); err != nil || found.Active != want {
				t.Errorf("introspection: %v, %v, want %v", found.Active, err, want)
			}
		}
		if row := w.newestAudit(t, "job_grant.spent"); row.Actor != p.worker.ID || !strings.Contains(row.Detail, claims.ID) {
			t.Errorf("audit: %+v", row)
		}
		w.update(t, func(tx *store.Tx) error {
			if _, err := tx.LiveEvent(t.Context(), jtiTarget(claims.ID), events.TypeTokenRevoked); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("verifiers are told: %v", err)
			}
			return nil
		})
		if _, err := w.RevokeToken(t.Context(), p.client, grant.AccessToken); err != nil {
			t.Fatal(err)
		}
		p.wantAlive(t, token.AccessToken, false)
	})
}

func TestGrantsAreSpentByQueuesAndOnlyGrantsAre(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p := newWorkplace(t, w)
		grant, _ := p.exchange(t, p.wantGrant())
		stranger := w.authenticate(t, w.register(t, "stranger").Keys[0].Key)
		if err := w.SpendGrants(t.Context(), stranger, []string{grant.AccessToken}); !errors.Is(err, ErrForbidden) {
			t.Errorf("by anybody: %v", err)
		}
		if err := w.SpendGrants(t.Context(), p.client, slices.Repeat([]string{"x"}, MaxSpent+1)); !errors.Is(err, ErrInvalidRequest) {
			t.Errorf("too many: %v", err)
		}
		test := p.client
		test.Mode = events.ModeTest
		if err := w.SpendGrants(t.Context(), test, []string{grant.AccessToken}); err != nil {
			t.Error(err)
		}
		token, _ := p.exchange(t, use(grant))
		forged := grant.AccessToken[:len(grant.AccessToken)-8] + "AAAAAAAA"
		p.spend(t, token.AccessToken, p.a.AccessToken, forged, "", "x")
		p.exchange(t, use(grant))
		p.wantAlive(t, token.AccessToken, true)
		p.spend(t, "x", grant.AccessToken) // what is passed over holds up nothing
		if _, err := w.Exchange(t.Context(), p.client, use(grant)); !errors.Is(err, ErrInvalidGrant) {
			t.Errorf("exchanged: %v", err)
		}
	})
}

// What is exchanged for a grant is there before the grant's spending returns, or never.
func TestSpendingAGrantWaitsForWhoExchangesIt(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		p := newWorkplace(t, newWorld(t, url))
		grant, claims := p.exchange(t, p.wantGrant())
		done := make(chan error, 1)
		_, err := p.change(t.Context(), p.caller, func(w *work) error {
			if err := w.LockToken(t.Context(), claims.ID); err != nil {
				return err
			}
			if spent, err := w.GrantSpent(t.Context(), claims.ID); err != nil || spent {
				t.Errorf("spent before: %v, %v", spent, err)
			}
			go func() { done <- p.SpendGrants(context.Background(), p.client, []string{grant.AccessToken}) }()
			if !waits(t, url, done) {
				t.Error("it was spent under the transaction")
			}
			return nil
		})
		if err = errors.Join(err, <-done); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAnExchangeWaitsForWhoSpendsTheGrant(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		p := newWorkplace(t, newWorld(t, url))
		grant, claims := p.exchange(t, p.wantGrant())
		done := make(chan error, 1)
		_, err := p.change(t.Context(), p.caller, func(w *work) error {
			if err := w.SpendGrants(t.Context(), []store.SpentGrant{{JTI: claims.ID, EndsAt: claims.Expires * 1e6}}); err != nil {
				return err
			}
			if spent, err := w.GrantSpent(t.Context(), claims.ID); err != nil || !spent {
				t.Errorf("not spent: %v, %v", spent, err)
			}
			go func() {
				_, err := p.Exchange(context.Background(), p.client, use(grant))
				done <- err
			}()
			if !waits(t, url, done) {
				t.Error("it was exchanged under the transaction")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, ErrInvalidGrant) {
			t.Errorf("exchanged: %v", err)
		}
	})
}

func TestSpentGrantsAreForgottenAWhileAfterTheirEnd(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		hour := time.Hour.Microseconds()
		w.update(t, func(tx *store.Tx) error {
			return tx.SpendGrants(t.Context(), []store.SpentGrant{{JTI: "gone", EndsAt: tx.Now() - hour - 1}, {JTI: "kept", EndsAt: tx.Now() - hour/2}})
		})
		if err := w.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.update(t, func(tx *store.Tx) error {
			for jti, want := range map[string]bool{"gone": false, "kept": true} {
				if spent, err := tx.GrantSpent(t.Context(), jti); err != nil || spent != want {
					t.Errorf("%s: %v, %v", jti, spent, err)
				}
			}
			return nil
		})
	})
}
