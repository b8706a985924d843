package auth

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/liveness"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// workplace is a scene with a worker.
type workplace struct {
	*scene
	worker User
}

func newWorkplace(t *testing.T, w *world) *workplace {
	t.Helper()
	p := &workplace{scene: newScene(t, w)}
	p.hire(t)
	p.worker.ID = p.client.UserID
	return p
}

// hire makes the worker of a scene.
func (s *scene) hire(t testing.TB) {
	t.Helper()
	s.client = s.workerNamed(t, "worker-"+s.user.Username)
}

func (w *world) workerNamed(t testing.TB, name string) Caller {
	t.Helper()
	worker := w.register(t, name)
	if _, _, err := w.SetRoles(t.Context(), w.as(t, "root"), worker.User.ID, []string{RoleUser, RoleQueue, RoleWorker}); err != nil {
		t.Fatal(err)
	}
	return w.authenticate(t, worker.Keys[0].Key)
}

// A job grant outlives the token that it came of. Anybody may register, and may have seen somebody's token.
func TestOnlyQueuesMintJobGrantsAndOnlyWorkersUseThem(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p := newWorkplace(t, w)
		grant, _ := p.exchange(t, p.wantGrant())
		stranger := w.authenticate(t, w.register(t, "stranger").Keys[0].Key)
		for name, x := range map[string]Exchange{"of a token": p.wantGrant(), "of a key": p.wantGrantOfKey(), "use": use(grant)} {
			if _, err := w.Exchange(t.Context(), stranger, x); !errors.Is(err, ErrUnauthorizedClient) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for role, x := range map[string]Exchange{RoleQueue: use(grant), RoleWorker: p.wantGrant()} {
			narrow, err := w.CreateAPIKey(t.Context(), w.as(t, "worker-"+p.user.Username), NewAPIKey{Name: "narrow", Mode: events.ModeLive, Scopes: []string{RoleUser, role}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Exchange(t.Context(), w.authenticate(t, narrow.Key), x); !errors.Is(err, ErrUnauthorizedClient) {
				t.Errorf("by a key with the other role, %s: %v", role, err)
			}
		}
	})
}

func (w *world) authenticate(t testing.TB, key string) Caller {
	t.Helper()
	c, err := w.AuthenticateKey(t.Context(), key, Client{IP: "192.0.2.2"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *scene) exchange(t testing.TB, x Exchange) (DerivedToken, accessClaims) {
	t.Helper()
	issued, err := s.Exchange(t.Context(), s.client, x)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := peekToken(issued.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	return issued, claims
}

func (s *scene) ofToken() Exchange {
	return Exchange{SubjectToken: s.a.AccessToken, SubjectType: TypeAccessToken}
}

func (s *scene) wantGrant() Exchange {
	x := s.ofToken()
	x.RequestedType, x.JobID = TypeJobGrant, "job-1"
	return x
}

func (s *scene) wantGrantOfKey() Exchange {
	return Exchange{SubjectToken: s.key.Key, SubjectType: TypeAPIKey, RequestedType: TypeJobGrant, JobID: "job-1"}
}

func use(grant DerivedToken) Exchange {
	return Exchange{SubjectToken: grant.AccessToken, SubjectType: TypeJobGrant, JobID: "job-1"}
}

// alive asks as elite checks and introspection do.
func (w *world) alive(t testing.TB, token string) bool {
	t.Helper()
	found, err := w.findToken(t.Context(), liveness.Introspected, token)
	if err != nil && !errors.Is(err, errNotAlive) {
		t.Fatal(err)
	}
	if err == nil && found.user.ID == "" {
		t.Error("alive, and nobody's")
	}
	return err == nil
}

// offspring is what was derived in a scene from session A's token and from the user's key, one way or another.
type offspring struct{ ofA, ofKey map[string]string }

func (s *scene) derive(t testing.TB) offspring {
	t.Helper()
	s.hire(t)
	grantOfA, _ := s.exchange(t, s.wantGrant())
	grantOfKey, _ := s.exchange(t, s.wantGrantOfKey())
	ofA, _ := s.exchange(t, s.ofToken())
	ofGrantOfA, _ := s.exchange(t, use(grantOfA))
	ofGrantOfKey, _ := s.exchange(t, use(grantOfKey))
	own, err := s.ClientCredentials(t.Context(), s.authenticate(t, s.key.Key), TokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	admins := &scene{world: s.world, a: s.login(t, "root"), client: s.authenticate(t, s.key.Key)}
	byKey, _ := admins.exchange(t, admins.ofToken())
	return offspring{
		ofA: map[string]string{"exchanged": ofA.AccessToken, "grant": grantOfA.AccessToken, "of the grant": ofGrantOfA.AccessToken},
		ofKey: map[string]string{"of the key": own.AccessToken, "grant of the key": grantOfKey.AccessToken,
			"of the grant of the key": ofGrantOfKey.AccessToken, "by the key": byKey.AccessToken},
	}
}

// What ends session A's token, the user's tokens or the key ends all that was derived from them, and what doesn't leaves
// it alive.
func TestWhatIsDerivedDiesOnEveryPathThatEndsItsParents(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for i, p := range paths() {
			t.Run(p.name, func(t *testing.T) {
				s := sceneOf(t, w, "vera"+strconv.Itoa(i))
				o := s.derive(t)
				s.wantOffspring(t, o, true, true)
				if _, err := p.act(s); err != nil {
					t.Fatal(err)
				}
				a, b := strings.Contains(p.living, "a"), strings.Contains(p.living, "b")
				key := strings.Contains(p.living, "key")
				s.wantOffspring(t, o, a, key && (a || b)) // without a session: the user's tokens are dead, or all
			})
		}
	})
}

func (s *scene) wantOffspring(t *testing.T, o offspring, ofA, ofKey bool) {
	t.Helper()
	for name, token := range o.ofA {
		if alive := s.alive(t, token); alive != ofA {
			t.Errorf("%s: alive %v, want %v", name, alive, ofA)
		}
	}
	for name, token := range o.ofKey {
		if alive := s.alive(t, token); alive != ofKey {
			t.Errorf("%s: alive %v, want %v", name, alive, ofKey)
		}
	}
}

func TestAnExchangedTokenNamesBothAndEverythingThatItRestsOn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p := newWorkplace(t, w)
		own, err := peekToken(p.a.AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		issued, c := p.exchange(t, p.ofToken())
		if issued.IssuedTokenType != TypeAccessToken || issued.TokenType != "Bearer" || issued.ExpiresIn != 300 || issued.Scope != RoleUser {
			t.Errorf("answer %+v", issued)
		}
		if c.Subject != p.user.ID || c.Actor == nil || *c.Actor != (Actor{p.worker.ID, p.client.KeyID}) ||
			c.ClientID != p.client.KeyID || c.KeyID != p.client.KeyID || c.SessionID != "" || c.Mode != events.ModeLive || c.Audience != "tocsin" ||
			!slices.Equal(c.AMR, own.AMR) || c.AuthTime != own.AuthTime {
			t.Errorf("claims %+v", c)
		}
		want := []events.Parent{{JTI: own.ID, SessionID: own.SessionID, Subject: own.Subject, TV: own.TV}}
		if len(c.Parents) != 2 || c.Parents[0] != want[0] || c.Parents[1].Subject != p.worker.ID || c.Parents[1].KeyID != p.client.KeyID || c.Parents[1].TV == 0 {
			t.Errorf("parents %+v", c.Parents)
		}
		if !w.alive(t, issued.AccessToken) {
			t.Error("dead")
		}
		row := w.newestAudit(t, "token.exchanged")
		if row.Actor != p.worker.ID || row.Target != userTarget(p.user.ID) || row.IP != "192.0.2.2" {
			t.Errorf("audit %+v", row)
		}
		if _, err := w.AuthenticateBearer(t.Context(), issued.AccessToken, Client{}); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("/v1 takes it: %v", err)
		}
	})
}

func TestAJobGrantIsUsedByAnotherClientForItsJobOnly(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p := newWorkplace(t, w)
		for name, x := range map[string]Exchange{
			"of a token": p.wantGrant(),
			"of a key":   p.wantGrantOfKey(),
		} {
			grant, c := p.exchange(t, x)
			if grant.IssuedTokenType != TypeJobGrant || grant.TokenType != "N_A" || grant.ExpiresIn != 24*3600 || c.JobID != "job-1" || c.Actor != nil || c.KeyID != "" {
				t.Errorf("%s: %+v, %+v", name, grant, c)
			}
			if found, err := w.Introspect(t.Context(), p.caller, grant.AccessToken); err != nil || !found.Active || found.JobID != "job-1" || found.TokenType != "N_A" {
				t.Errorf("%s: introspection %+v, %v", name, found, err)
			}
			issued, c := p.exchange(t, use(grant))
			if c.Subject != p.user.ID || issued.ExpiresIn != 300 || len(c.Parents) != 3 || !w.alive(t, issued.AccessToken) {
				t.Errorf("%s: %+v, %+v", name, issued, c)
			}
			other := use(grant)
			other.JobID = "job-2"
			_, err := w.Exchange(t.Context(), p.client, other)
			wantError(t, err, ErrInvalidRequest, "job_id")
			if _, err := w.AuthenticateBearer(t.Context(), grant.AccessToken, Client{}); !errors.Is(err, ErrUnauthenticated) {
				t.Errorf("%s: /v1 takes the grant: %v", name, err)
			}
		}
	})
}

func TestClientCredentialsGiveATokenOfTheKeysUser(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p := newWorkplace(t, w)
		issued, err := w.ClientCredentials(t.Context(), p.client, TokenRequest{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := peekToken(issued.AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		if c.Subject != p.worker.ID || c.ClientID != p.client.KeyID || c.KeyID != p.client.KeyID || c.SessionID != "" || c.Actor != nil ||
			len(c.Parents) != 0 || issued.ExpiresIn != 300 || issued.Scope != "queue user worker" || !w.alive(t, issued.AccessToken) {
			t.Errorf("%+v, %+v", issued, c)
		}
		_, err = w.ClientCredentials(t.Context(), p.client, TokenRequest{Scope: "user admin"})
		wantError(t, err, ErrInvalidScope, "")
	})
}

// A derived token never outlives what it rests on, whichever ends first.
func TestDerivedTokensEndWithTheFirstOfTheirParents(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p := newWorkplace(t, w)
		grant, _ := p.exchange(t, p.wantGrant())
		ends := func(key string, after time.Duration) {
			t.Helper()
			w.update(t, func(tx *store.Tx) error {
				_, err := tx.EndAPIKey(t.Context(), key, tx.Now()+after.Microseconds(), "")
				return err
			})
		}
		w.clock.Advance(14 * time.Minute)
		if issued, _ := p.exchange(t, p.ofToken()); issued.ExpiresIn > 60 {
			t.Errorf("it outlives the subject's token by %d s", issued.ExpiresIn-60)
		}
		w.clock.Advance(time.Minute)
		_, err := w.Exchange(t.Context(), p.client, p.ofToken())
		wantError(t, err, ErrInvalidRequest, "subject_token")
		if issued, _ := p.exchange(t, use(grant)); issued.ExpiresIn != 300 {
			t.Errorf("a grant doesn't end with the token that it is of: %d s", issued.ExpiresIn)
		}
		ends(p.client.KeyID, 100*time.Second)
		if issued, _ := p.exchange(t, use(grant)); issued.ExpiresIn > 100 {
			t.Errorf("it outlives the client's key: %d s", issued.ExpiresIn)
		}
		w.clock.Advance(24*time.Hour - 15*time.Minute)
		p.client = w.workerNamed(t, "worker2")
		_, err = w.Exchange(t.Context(), p.client, use(grant))
		wantError(t, err, ErrInvalidGrant, "")
	})
}

// The roles of a derived token are those that subject and actor both have, at every moment.
func TestADerivedTokenHasWhatBothHave(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p := newWorkplace(t, w)
		roles := func(user string, roles ...string) {
			t.Helper()
			if _, _, err := w.SetRoles(t.Context(), p.root, user, roles); err != nil {
				t.Fatal(err)
			}
		}
		has := func(token string, want ...string) {
			t.Helper()
			found, err := w.findToken(t.Context(), liveness.Introspected, token)
			if err != nil || !slices.Equal(found.roles(), want) {
				t.Errorf("it has %q, want %q: %v", found.roles(), want, err)
			}
		}
		roles(p.user.ID, "editor", "reader", "user")
		roles(p.client.UserID, "editor", "user", RoleDelegate, RoleQueue, RoleWorker)
		grant, c := p.exchange(t, p.wantGrant())
		if !slices.Equal(c.Roles, []string{"editor", "reader", "user"}) {
			t.Errorf("the grant has %q", c.Roles)
		}
		token, _ := p.exchange(t, use(grant))
		has(token.AccessToken, "editor", "user")
		roles(p.user.ID, "admin", "user", RoleDelegate)
		has(token.AccessToken, "user")
		roles(p.user.ID, "editor", "user", RoleDelegate)
		roles(p.client.UserID, "editor", RoleQueue, RoleWorker)
		has(token.AccessToken, "editor")

		fewer := p.wantGrant()
		fewer.Scope = "user"
		narrow, _ := p.exchange(t, fewer)
		roles(p.client.UserID, "editor", "user", RoleWorker)
		token, _ = p.exchange(t, use(narrow))
		has(token.AccessToken, "user")
		more := use(narrow)
		more.Scope = "editor user"
		_, err := w.Exchange(t.Context(), p.client, more)
		wantError(t, err, ErrInvalidScope, "")

		roles(p.user.ID, "editor", "user", RoleDelegate, RoleWorker)
		k, err := w.CreateAPIKey(t.Context(), p.caller, NewAPIKey{Name: "narrow", Mode: events.ModeLive, Scopes: []string{"editor", RoleWorker}})
		if err != nil {
			t.Fatal(err)
		}
		p.client = w.authenticate(t, k.Key)
		token, _ = p.exchange(t, use(grant)) // the user is their own worker
		has(token.AccessToken, "editor")
		own, err := w.ClientCredentials(t.Context(), p.client, TokenRequest{})
		if err != nil {
			t.Fatal(err)
		}
		has(own.AccessToken, "editor", RoleWorker)
	})
}

func TestDerivedTokensAndGrantsEndOnTheSecond(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p := newWorkplace(t, w)
		p.toWholeSecond(t)
		began := time.Now()
		token, c := p.exchange(t, p.ofToken())
		w.clock.Advance(time.Duration(c.Expires-c.IssuedAt)*time.Second - time.Second)
		if !w.alive(t, token.AccessToken) && time.Since(began) < time.Second { // or it was its time
			t.Error("a token is dead before its time")
		}
		w.clock.Advance(time.Second)
		if w.alive(t, token.AccessToken) {
			t.Error("a token outlives its time")
		}
		p.toWholeSecond(t)
		grant, c := p.exchange(t, p.wantGrant())
		w.clock.Advance(time.Duration(c.Expires-c.IssuedAt)*time.Second - time.Minute)
		if issued, _ := p.exchange(t, use(grant)); issued.ExpiresIn > 60 {
			t.Errorf("a token outlives its job grant by %d s", issued.ExpiresIn-60)
		}
		w.clock.Advance(time.Minute)
		_, err := w.Exchange(t.Context(), p.client, use(grant))
		wantError(t, err, ErrInvalidGrant, "")
	})
}

// toWholeSecond sets the clock to the beginning of the next second, of which a test then uses little.
func (s *scene) toWholeSecond(t *testing.T) {
	t.Helper()
	s.update(t, func(tx *store.Tx) error {
		s.clock.Advance(time.Duration(1e6-tx.Now()%1e6) * time.Microsecond)
		return nil
	})
}

// numberAll gives all events numbers, as the dispatcher does, and returns their epoch and the last number.
func (w *world) numberAll(t *testing.T) (epoch string, head uint64) {
	t.Helper()
	lease, err := w.db.AcquireFeed(t.Context(), store.LeaseRequest{Holder: "test", Issuer: "http://auth.test", Life: time.Minute, Alone: true})
	if err != nil {
		t.Fatal(err)
	}
	numbered, err := w.db.NumberEvents(t.Context(), store.NumberRequest{Term: lease.Term, At: lease.FeedPosition, Life: time.Minute, CarryOver: true})
	if err != nil || numbered.More {
		t.Fatalf("%+v, %v", numbered, err)
	}
	return numbered.Epoch, numbered.Head
}

// The jti of what a grant is of is remembered for as long as the grant, not only for as long as verifiers need its event.
func TestAJobGrantDoesNotComeBackWhenTheEventLapses(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p := newWorkplace(t, w)
		grant, _ := p.exchange(t, p.wantGrant())
		other, c := p.exchange(t, p.wantGrantOfKey())
		for _, jti := range []string{p.caller.TokenID, c.ID} {
			if _, err := w.Revoke(t.Context(), p.root, Revocation{JTI: &jti}); err != nil {
				t.Fatal(err)
			}
		}
		epoch, head := w.numberAll(t)
		for _, hours := range []time.Duration{0, 23} {
			w.clock.Advance(hours * time.Hour)
			if _, err := w.db.PruneEvents(t.Context(), epoch, head+1); err != nil {
				t.Fatal(err)
			}
			for _, dead := range []DerivedToken{grant, other} {
				_, err := w.Exchange(t.Context(), p.client, use(dead))
				wantError(t, err, ErrInvalidGrant, "")
			}
		}
	})
}

// What was derived while the clock was ahead dies with everything, too, though its id is of a time that is yet to come.
func TestRevokingAllReachesWhatWasDerivedWhileTheClockWasAhead(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		p := newWorkplace(t, w)
		const ahead = 20 * time.Minute
		w.clock.Advance(ahead)
		own, err := w.ClientCredentials(t.Context(), p.client, TokenRequest{})
		if err != nil {
			t.Fatal(err)
		}
		grant, _ := p.exchange(t, p.wantGrantOfKey())
		w.clock.Advance(-ahead)
		root := w.as(t, "root")
		if !w.alive(t, own.AccessToken) || !w.alive(t, grant.AccessToken) {
			t.Fatal("dead before")
		}
		if _, err := w.Revoke(t.Context(), root, Revocation{All: true}); err != nil {
			t.Fatal(err)
		}
		if w.alive(t, own.AccessToken) || w.alive(t, grant.AccessToken) {
			t.Error("it lives")
		}
	})
}

func FuzzExchange(f *testing.F) {
	f.Add("user admin", "tocsin", "", string(TypeAccessToken), "", "job-1")
	f.Add(" ", "", "tocsin", string(TypeJobGrant), string(TypeJobGrant), "\xff\x00")
	f.Add("", "", "", string(TypeAPIKey), string(TypeJobGrant), "j")
	f.Fuzz(func(t *testing.T, scope, audience, resource, subject, requested, job string) {
		x := Exchange{TokenRequest: TokenRequest{Scope: scope, Audience: audience, Resource: resource}, SubjectToken: "a.b.c",
			SubjectType: TokenType(subject), RequestedType: TokenType(requested), JobID: job}
		roles, err := x.TokenRequest.check("tocsin")
		if err == nil && (audience != "" && audience != "tocsin" || resource != "" && resource != "tocsin") {
			t.Errorf("another audience passed: %q %q", audience, resource)
		}
		for _, role := range roles {
			if checkName("scope", role) != nil {
				t.Errorf("scope %q passed as %q", scope, roles)
			}
		}
		if x.check() != nil {
			return
		}
		grants := x.wantsGrant() || x.SubjectType == TypeJobGrant
		if grants != (job != "") || checkText("job_id", job) != nil || x.wantsGrant() && x.SubjectType == TypeJobGrant {
			t.Errorf("passed: %+v", x)
		}
	})
}
