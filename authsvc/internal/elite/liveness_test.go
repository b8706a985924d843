package elite

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/liveness"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// answer answers a question that is read alone.
func (w *world) answer(ctx context.Context, question Question, body []byte) (feed.Message, error) {
	r := responder{store: w.db, ring: testRing(), pages: pages{}}
	if question != Check && question != Resolve {
		return r.answer(ctx, question, body)
	}
	asked, err := r.inquire(question, body)
	if err != nil {
		return feed.Message{}, err
	}
	states, err := w.db.Ask(ctx, []store.Question{asked.Question})
	if err != nil {
		return feed.Message{}, err
	}
	return asked.answer(states[0])
}

// check asks and verifies the answer as a service does.
func (w *world) check(t testing.TB, r events.CheckRequest) events.CheckAnswer {
	t.Helper()
	r.Nonce = events.NewNonce()
	body, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	page, err := w.answer(t.Context(), Check, body)
	if err != nil {
		t.Fatal(err)
	}
	if err := feedKeys().Verify(events.KindCheck, page.Key, page.Signature, page.Body); err != nil {
		t.Fatal(err)
	}
	a, err := events.DecodeCheckAnswer(page.Body)
	if err != nil {
		t.Fatal(err)
	}
	if a.Nonce != r.Nonce || a.Request != events.HashOf(body) || a.Now == 0 {
		t.Fatalf("answer to another question: %+v", a)
	}
	if a.Active != (a.Reason == liveness.Alive) || a.Active != (a.User != nil) {
		t.Fatalf("contradiction: %+v", a)
	}
	return a
}

// changes are all the ways in which trust ends, each with the reason that each kind of credential gives then.
var changes = []struct {
	name   string
	change func(t *testing.T, w *world)
	// Reasons to refuse the session's token, a token of the key, and the key. A derived token has that of its parent.
	token, keyToken, key events.Reason
}{
	{name: "nothing happened", change: func(*testing.T, *world) {}},
	{name: "logout", change: func(t *testing.T, w *world) {
		w.update(t, func(ctx context.Context, tx *store.Tx) error { _, err := tx.EndSession(ctx, w.session.ID); return err })
	}, token: events.ReasonRevoked},
	{name: "logout of another session", change: func(t *testing.T, w *world) {
		other := storetest.AddSession(t, w.db, w.user)
		w.update(t, func(ctx context.Context, tx *store.Tx) error { _, err := tx.EndSession(ctx, other.ID); return err })
	}},
	{name: "session's absolute limit", change: func(t *testing.T, w *world) {
		w.update(t, func(ctx context.Context, tx *store.Tx) error {
			return tx.TouchSession(ctx, w.session.ID, tx.Now()+int64(time.Hour), "", "")
		})
		w.clock.Advance(time.Hour)
	}, token: events.ReasonExpired},
	{name: "session's idle limit", change: func(t *testing.T, w *world) {
		w.update(t, func(ctx context.Context, tx *store.Tx) error {
			return tx.TouchSession(ctx, w.session.ID, tx.Now(), "", "")
		})
	}, token: events.ReasonExpired},
	{name: "session's idle limit, and logout", change: func(t *testing.T, w *world) {
		w.update(t, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.EndSession(ctx, w.session.ID)
			return err
		})
		w.clock.Advance(2 * time.Hour)
	}, token: events.ReasonRevoked},
	{name: "token revoked by its id", change: func(t *testing.T, w *world) { w.revokeJTI(t, w.jti) },
		token: events.ReasonRevoked, keyToken: events.ReasonRevoked},
	{name: "another token revoked by its id", change: func(t *testing.T, w *world) { w.revokeJTI(t, w.session.ID) }},
	{name: "logout everywhere", change: func(t *testing.T, w *world) { w.bump(t, false) },
		token: events.ReasonRevoked, keyToken: events.ReasonRevoked},
	{name: "user revoked, keys too", change: func(t *testing.T, w *world) { w.bump(t, true) },
		token: events.ReasonRevoked, keyToken: events.ReasonRevoked, key: events.ReasonRevoked},
	{name: "everything revoked", change: func(t *testing.T, w *world) { w.raise(t, false) },
		token: events.ReasonRevoked, keyToken: events.ReasonRevoked},
	{name: "everything revoked, keys too", change: func(t *testing.T, w *world) { w.raise(t, true) },
		token: events.ReasonRevoked, keyToken: events.ReasonRevoked, key: events.ReasonRevoked},
	{name: "user disabled", change: func(t *testing.T, w *world) { w.authorize(t, true) },
		token: events.ReasonRevoked, keyToken: events.ReasonRevoked, key: events.ReasonRevoked},
	{name: "user disabled and enabled again", change: func(t *testing.T, w *world) { w.authorize(t, true); w.authorize(t, false) }},
	{name: "user deleted", change: func(t *testing.T, w *world) {
		w.update(t, func(ctx context.Context, tx *store.Tx) error { return tx.DeleteUser(ctx, w.user.ID) })
	}, token: events.ReasonRevoked, keyToken: events.ReasonRevoked, key: events.ReasonUnknownKey},
	{name: "key suspended", change: func(t *testing.T, w *world) { w.suspend(t, true) },
		keyToken: events.ReasonRevoked, key: events.ReasonRevoked},
	{name: "key suspended and resumed", change: func(t *testing.T, w *world) { w.suspend(t, true); w.suspend(t, false) }},
	{name: "key expired", change: func(t *testing.T, w *world) { w.endKey(t, time.Minute, ""); w.clock.Advance(time.Minute) },
		keyToken: events.ReasonExpired, key: events.ReasonExpired},
	{name: "key expired and suspended", change: func(t *testing.T, w *world) {
		w.endKey(t, time.Minute, "")
		w.clock.Advance(time.Minute)
		w.suspend(t, true)
	}, keyToken: events.ReasonRevoked, key: events.ReasonRevoked},
	{name: "key revoked", change: func(t *testing.T, w *world) { w.endKey(t, 0, "") },
		keyToken: events.ReasonRevoked, key: events.ReasonRevoked},
	{name: "key revoked, and the clock set back", change: func(t *testing.T, w *world) {
		w.clock.Advance(time.Minute)
		w.endKey(t, 0, "")
		w.clock.Advance(-time.Minute)
	}, keyToken: events.ReasonRevoked, key: events.ReasonRevoked},
	{name: "key rotated at once", change: func(t *testing.T, w *world) { w.endKey(t, 0, w.jti) },
		keyToken: events.ReasonRevoked, key: events.ReasonRevoked},
	{name: "key rotated with overlap", change: func(t *testing.T, w *world) { w.endKey(t, time.Minute, w.jti) }},
	{name: "key rotated, overlap over", change: func(t *testing.T, w *world) {
		w.endKey(t, time.Minute, w.jti)
		w.clock.Advance(time.Minute)
	}, keyToken: events.ReasonRevoked, key: events.ReasonRevoked},
	{name: "key deleted", change: func(t *testing.T, w *world) {
		w.update(t, func(ctx context.Context, tx *store.Tx) error { return tx.DeleteAPIKey(ctx, w.key.ID) })
	}, keyToken: events.ReasonRevoked, key: events.ReasonUnknownKey},
	{name: "signing key dropped", change: func(t *testing.T, w *world) {
		w.update(t, func(ctx context.Context, tx *store.Tx) error { return tx.RetireSigningKey(ctx, w.kid) })
	}, token: events.ReasonInvalidToken, keyToken: events.ReasonInvalidToken},
}

func (w *world) revokeJTI(t *testing.T, jti string) {
	w.update(t, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.InsertEvent(ctx, store.NewEvent{Payload: events.TokenRevoked{JTI: jti}, Target: "jti:" + jti, Actor: "system"})
		return err
	})
}

func (w *world) bump(t *testing.T, keys bool) {
	w.update(t, func(ctx context.Context, tx *store.Tx) error {
		users, err := tx.LockUsers(ctx, []string{w.user.ID})
		if err != nil {
			return err
		}
		_, err = tx.BumpTokens(ctx, users, keys)
		return err
	})
}

// raise revokes everything made until now, and what was made in this very millisecond.
func (w *world) raise(t *testing.T, keys bool) {
	w.clock.Advance(2 * time.Millisecond) // ids may be as new as the watermark of another test that was just raised
	w.update(t, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.RaiseBefore(ctx, tx.Now()/1000+1, keys)
		return err
	})
}

func (w *world) authorize(t *testing.T, disabled bool) {
	w.update(t, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.SetAuthorization(ctx, w.user.ID, w.user.Roles, w.user.Plan, disabled)
		return err
	})
}

func (w *world) suspend(t *testing.T, suspended bool) {
	w.update(t, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.SetAPIKeySuspended(ctx, w.key.ID, suspended, false)
		return err
	})
}

func (w *world) endKey(t *testing.T, after time.Duration, successor string) {
	w.update(t, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.EndAPIKey(ctx, w.key.ID, tx.Now()+after.Microseconds(), successor)
		return err
	})
}

func eachEngine(t *testing.T, test func(t *testing.T, w *world)) {
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		t.Run(string(engine), func(t *testing.T) { test(t, newWorld(t, engine)) })
	}
}

func TestCheckKnowsEveryWayInWhichTrustEnds(t *testing.T) {
	eachEngine(t, func(t *testing.T, base *world) {
		for _, c := range changes {
			t.Run(c.name, func(t *testing.T) {
				w := base.another(t)
				derived := w.derived(t, w.parent())
				derivedByKey := derived
				derivedByKey.Parents = []events.Parent{{}, w.keyParent()}
				derivedByKey.Parents[0] = events.Parent{JTI: derived.JTI, Subject: derived.Subject, TV: derived.TV}
				for name, r := range map[string]events.CheckRequest{
					"token": w.token(), "key token": w.keyToken(), "key": w.keyQuestion(),
					"derived": derived, "derived by key": derivedByKey,
				} {
					if a := w.check(t, r); !a.Active {
						t.Fatalf("%s before: %s", name, a.Reason)
					}
				}

				c.change(t, w)

				keyParent := c.key
				if keyParent == events.ReasonUnknownKey {
					keyParent = events.ReasonRevoked // a token of it exists, so it did
				}
				if c.name == "signing key dropped" {
					keyParent = events.ReasonInvalidToken
				}
				derivedToken, derivedByKeyToken := c.token, keyParent
				if c.name == "everything revoked" || c.name == "logout everywhere" {
					derivedByKeyToken = events.ReasonRevoked // the derived token is a token, too, and was one of the key's user's
				}
				for _, q := range []struct {
					name string
					r    events.CheckRequest
					want events.Reason
				}{
					{"token", w.token(), c.token}, {"key token", w.keyToken(), c.keyToken}, {"key", w.keyQuestion(), c.key},
					{"derived", derived, derivedToken}, {"derived by key", derivedByKey, derivedByKeyToken},
				} {
					if a := w.check(t, q.r); a.Reason != q.want {
						t.Errorf("%s: %q, want %q", q.name, a.Reason, q.want)
					}
				}
			})
		}
	})
}

func TestCheckRefusesCredentialsThatNeverWere(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world) {
		other := storetest.AddUser(t, w.db, events.NewNonce(), "admin")
		othersKey := storetest.AddKey(t, w.db, other, "other")
		const nobody = "01890000-0000-7000-8000-00000000dead"
		hash := events.HashOf([]byte("no such key"))
		for name, c := range map[string]struct {
			change func(r *events.CheckRequest)
			want   events.Reason
		}{
			"kid of a feed key":          {func(r *events.CheckRequest) { r.Kid = w.feedKID }, events.ReasonInvalidToken},
			"unknown kid":                {func(r *events.CheckRequest) { r.Kid = thumbprint() }, events.ReasonInvalidToken},
			"kid with NUL":               {func(r *events.CheckRequest) { r.Kid = "\x00" + w.kid[1:] }, events.ReasonInvalidToken},
			"kid that is SQL":            {func(r *events.CheckRequest) { r.Kid = "' OR '1'='1" }, events.ReasonInvalidToken},
			"unknown session":            {func(r *events.CheckRequest) { r.SessionID = nobody }, events.ReasonRevoked},
			"another user's session":     {func(r *events.CheckRequest) { r.Subject, r.TV = other.ID, other.TV }, events.ReasonRevoked},
			"unknown user":               {func(r *events.CheckRequest) { r.Subject = nobody }, events.ReasonRevoked},
			"unknown key":                {func(r *events.CheckRequest) { r.KeyID = nobody }, events.ReasonRevoked},
			"a user version of the past": {func(r *events.CheckRequest) { r.TV-- }, events.ReasonRevoked},
			"no user version":            {func(r *events.CheckRequest) { r.TV = 0 }, events.ReasonRevoked},
			"another user's key":         {func(r *events.CheckRequest) { r.KeyID = othersKey.ID }, events.ReasonRevoked},
			"an unknown key as parent": {func(r *events.CheckRequest) {
				r.Parents = []events.Parent{{Subject: w.user.ID, TV: w.user.TV, KeyID: nobody}}
			}, events.ReasonRevoked},
			"another user's key as parent": {func(r *events.CheckRequest) {
				r.Parents = []events.Parent{{Subject: w.user.ID, TV: w.user.TV, KeyID: othersKey.ID}}
			}, events.ReasonRevoked},
			"another user's key, and one of one's own as parent": {func(r *events.CheckRequest) {
				r.KeyID, r.Parents = othersKey.ID, []events.Parent{w.keyParent()}
			}, events.ReasonRevoked},
			"a key of nobody as parent": {func(r *events.CheckRequest) { r.Parents = []events.Parent{{KeyID: w.key.ID}} }, events.ReasonInvalidToken},
			"a key as parent without a user version": {func(r *events.CheckRequest) {
				r.Parents = []events.Parent{{Subject: w.user.ID, KeyID: w.key.ID}}
			}, events.ReasonRevoked},
			"an actor's key": {func(r *events.CheckRequest) {
				r.KeyID, r.Parents = othersKey.ID, []events.Parent{{Subject: other.ID, TV: other.TV, KeyID: othersKey.ID}}
			}, liveness.Alive},
			"a parent that names nothing": {func(r *events.CheckRequest) { r.Parents = []events.Parent{{}} }, events.ReasonInvalidToken},
			"a parent that is a user":     {func(r *events.CheckRequest) { r.Parents = []events.Parent{{Subject: w.user.ID}} }, events.ReasonInvalidToken},
			"a parent without subject":    {func(r *events.CheckRequest) { r.Parents = []events.Parent{{JTI: w.jti}} }, events.ReasonInvalidToken},
			"the last of eight parents": {func(r *events.CheckRequest) {
				for range events.MaxParents - 1 {
					r.Parents = append(r.Parents, w.parent())
				}
				r.Parents = append(r.Parents, events.Parent{JTI: w.jti, Subject: nobody})
			}, events.ReasonRevoked},
			"unknown key hash": {func(r *events.CheckRequest) { *r = events.CheckRequest{KeyHash: &hash} }, events.ReasonUnknownKey},
		} {
			r := w.token()
			c.change(&r)
			if a := w.check(t, r); a.Reason != c.want {
				t.Errorf("%s: %q, want %q", name, a.Reason, c.want)
			}
		}
	})
}

func TestCheckOfAnActorsTokenTellsTheRolesOfBoth(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world) {
		r := w.derived(t, w.parent(), w.keyParent())
		r.KeyID = w.key.ID
		for _, c := range []struct{ subject, actor, want []string }{
			{[]string{"editor", "user"}, []string{"editor", "user"}, []string{"editor", "user"}},
			{[]string{"editor", "user"}, []string{"user"}, []string{"user"}},
			{[]string{"editor"}, []string{"admin", "editor", "user"}, []string{"editor"}},
			{[]string{"editor"}, []string{}, []string{}},
		} {
			w.update(t, func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.SetAuthorization(ctx, r.Subject, c.subject, "free", false)
				if err == nil {
					_, err = tx.SetAuthorization(ctx, w.user.ID, c.actor, "free", false)
				}
				return err
			})
			if a := w.check(t, r); !a.Active || !slices.Equal(a.User.Roles, c.want) || a.User.ID != r.Subject {
				t.Errorf("%v and %v: %+v %s", c.subject, c.actor, a.User, a.Reason)
			}
		}
	})
}

func TestCheckTellsWhenTheFirstKeyEndsOnWhichATokenRests(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world) {
		for name, r := range map[string]events.CheckRequest{"the key of a parent": w.derived(t, w.parent(), w.keyParent()), "its own key": w.keyToken()} {
			if a := w.check(t, r); !a.Active || a.NotAfter != nil {
				t.Errorf("%s has no end: %+v", name, a)
			}
		}
		w.endKey(t, time.Hour, "")
		ends := w.check(t, w.keyQuestion()).Key.NotAfter
		for name, r := range map[string]events.CheckRequest{"the key of a parent": w.derived(t, w.parent(), w.keyParent()), "its own key": w.keyToken()} {
			if a := w.check(t, r); !a.Active || a.NotAfter == nil || *a.NotAfter != *ends {
				t.Errorf("%s ends at %d: %+v", name, *ends, a)
			}
		}
	})
}

func TestCheckTellsTheAuthorizationOfThisMoment(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world) {
		rv := w.check(t, w.token()).User.RV
		w.update(t, func(ctx context.Context, tx *store.Tx) (err error) {
			rv, err = tx.SetAuthorization(ctx, w.user.ID, []string{"admin", "user"}, "pro", false)
			return err
		})
		want := &events.UserInfo{ID: w.user.ID, Roles: []string{"admin", "user"}, Plan: "pro", RV: rv}
		wantKey := &events.KeyInfo{ID: w.key.ID, Mode: events.ModeLive, TV: w.key.TV, KV: w.key.KV}
		if a := w.check(t, w.token()); cmp.Diff(want, a.User) != "" || a.Key != nil {
			t.Errorf("token: %+v, %+v", a.User, a.Key)
		}
		for name, r := range map[string]events.CheckRequest{"key token": w.keyToken(), "key": w.keyQuestion()} {
			if a := w.check(t, r); cmp.Diff(want, a.User) != "" || cmp.Diff(wantKey, a.Key) != "" {
				t.Errorf("%s: %+v, %+v", name, a.User, a.Key)
			}
		}
	})
}

func (w *world) resolve(t testing.TB) events.ResolveAnswer {
	t.Helper()
	r := events.ResolveRequest{Nonce: events.NewNonce(), KeyHash: events.Hash(w.key.Hash)}
	body, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	page, err := w.answer(t.Context(), Resolve, body)
	if err != nil {
		t.Fatal(err)
	}
	if err := feedKeys().Verify(events.KindResolve, page.Key, page.Signature, page.Body); err != nil {
		t.Fatal(err)
	}
	a, err := events.DecodeResolveAnswer(page.Body)
	if err != nil || a.Nonce != r.Nonce || a.Request != events.HashOf(body) || a.Now == 0 {
		t.Fatalf("answer %+v: %v", a, err)
	}
	return a
}

// What the feed will never say again must be said by the resolution; what may change again is a fact of it.
func TestResolveHidesKeysThatAreDeadForGood(t *testing.T) {
	hidden := map[string]bool{"user revoked, keys too": true, "everything revoked, keys too": true, "user deleted": true, "key deleted": true}
	eachEngine(t, func(t *testing.T, base *world) {
		for _, c := range changes {
			t.Run(c.name, func(t *testing.T) {
				w := base.another(t)
				c.change(t, w)
				a := w.resolve(t)
				if a.Found == hidden[c.name] {
					t.Fatalf("found: %v", a.Found)
				}
				if !a.Found {
					return
				}
				over := a.Key.NotAfter != nil && *a.Key.NotAfter <= a.Now
				if got := a.User.Disabled || a.Key.Suspended || over; got != (c.key != liveness.Alive) {
					t.Errorf("%+v, %+v say dead: %v", a.User, a.Key, got)
				}
			})
		}
	})
}

func TestKeysAreTheTokenKeysAlone(t *testing.T) {
	eachEngine(t, func(t *testing.T, w *world) {
		body := []byte(`{"nonce":"` + events.NewNonce() + `"}`)
		page, err := w.answer(t.Context(), Keys, body)
		if err != nil {
			t.Fatal(err)
		}
		a, err := events.DecodeKeysAnswer(page.Body)
		if err != nil || a.Request != events.HashOf(body) || a.Now == 0 {
			t.Fatalf("answer %+v: %v", a, err)
		}
		if want := `{"keys":[{"kty":"OKP","kid":"` + w.kid + `"}]}`; string(a.JWKS) != want {
			t.Errorf("got %s, want %s", a.JWKS, want)
		}
	})
}
