package auth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// stressFor is how long the calls go on at least, on each engine.
const stressFor = 2 * time.Second

// interval is when a call ran, by one clock.
type interval struct{ began, ended time.Time }

func (i interval) before(other interval) bool { return i.ended.Before(other.began) }

// granted is a credential and the call that issued it.
type granted struct {
	interval
	user, session, jti string
	of                 string  // jti of the token that it was exchanged for
	token              string  // or
	key                madeKey // one of both
}

// killing is a call that ended trust, by what it kills: must for all that was issued before, may for what else it can.
type killing struct {
	interval
	name      string
	must, may func(g granted) bool
}

// crowd is users who use what they have, while admins take it away.
type crowd struct {
	*arena
	t *testing.T

	mu      sync.Mutex
	users   []User
	names   int
	worker  string // a worker's key
	granted []granted
	killed  []killing
}

// TestNothingLostAmongRandomCalls is the same without a plan: many at once, at random. TOCSIN_RACE_SEED repeats what each
// caller does, though not how they meet.
func TestNothingLostAmongRandomCalls(t *testing.T) {
	seed, err := strconv.ParseUint(os.Getenv("TOCSIN_RACE_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("TOCSIN_RACE_SEED=%d", seed)
	storetest.EachURL(t, func(t *testing.T, url string) {
		c := &crowd{arena: newArena(t, url), t: t}
		for range 2 {
			c.newUser(t.Context())
		}
		c.hire(t.Context())
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), stressFor)
		defer cancel()
		var running sync.WaitGroup
		for i := range uint64(9) {
			random := rand.New(rand.NewPCG(seed, i))
			act := c.use
			if i > 5 {
				act = c.takeAway
			}
			running.Go(func() {
				for ctx.Err() == nil || !c.enough() {
					act(context.WithoutCancel(ctx), random)
				}
			})
		}
		running.Wait()
		c.judge()
	})
}

func (c *crowd) newUser(ctx context.Context) {
	call := interval{began: time.Now()}
	r, err := c.Register(ctx, Registration{Username: c.newName("user"), Password: password}, Client{})
	call.ended = time.Now()
	if err != nil {
		c.t.Errorf("register: %v", err)
		return
	}
	for _, key := range r.Keys {
		c.keep(granted{interval: call, user: r.User.ID, key: c.learn(key)})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users = append(c.users, r.User)
}

// learn is what a verifier learns of a key that was just made.
func (c *crowd) learn(key IssuedKey) madeKey {
	state, err := c.askKey(context.WithoutCancel(c.t.Context()), key.Key)
	if err != nil {
		c.t.Fatal(err)
	}
	return madeKey{key, state.Credentials[0].Key.TV}
}

func (c *crowd) keep(g granted) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.granted = append(c.granted, g)
}

func (c *crowd) keepTokens(call interval, tokens Tokens) {
	claims, err := peekToken(tokens.AccessToken)
	if err != nil {
		c.t.Error(err)
	}
	c.keep(granted{interval: call, user: claims.Subject, session: claims.SessionID, jti: claims.ID, token: tokens.AccessToken})
}

// exchange has a worker act for whose token it is. When everything ended, a new worker is hired.
func (c *crowd) exchange(ctx context.Context, tokens Tokens) {
	subject, err := peekToken(tokens.AccessToken)
	if err != nil {
		c.t.Error(err)
	}
	c.mu.Lock()
	key := c.worker
	c.mu.Unlock()
	client, err := c.AuthenticateKey(ctx, key, Client{})
	if err != nil {
		c.hire(ctx)
		return
	}
	call := interval{began: time.Now()}
	issued, err := c.Exchange(ctx, client, Exchange{SubjectToken: tokens.AccessToken, SubjectType: TypeAccessToken})
	call.ended = time.Now()
	if errors.Is(err, errNoSubject) || !c.refusedOnly("exchange", err) {
		return
	}
	claims, err := peekToken(issued.AccessToken)
	if err != nil {
		c.t.Error(err)
	}
	c.keep(granted{interval: call, user: subject.Subject, session: subject.SessionID, jti: claims.ID, of: subject.ID, token: issued.AccessToken})
}

func (c *crowd) hire(ctx context.Context) {
	r, err := c.Register(ctx, Registration{Username: c.newName("worker"), Password: password}, Client{})
	if err != nil {
		c.t.Errorf("register: %v", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.worker = r.Keys[0].Key
}

func (c *crowd) newName(kind string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names++
	return fmt.Sprintf("%s%d", kind, c.names)
}

// enough reports whether there was as much as proves something: a busy machine takes longer for it.
func (c *crowd) enough() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.granted) >= 20 && len(c.killed) >= 5 || c.t.Failed()
}

func (c *crowd) anyUser(random *rand.Rand) User {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.users[random.IntN(len(c.users))]
}

func (c *crowd) anyGranted(random *rand.Rand) granted {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.granted)
	return c.granted[n-1-random.IntN(min(n, 20))] // a recent one
}

// refusedOnly reports errors that aren't refusals.
func (c *crowd) refusedOnly(what string, err error) bool {
	known := []error{ErrInvalidCredentials, ErrInvalidRefreshToken, ErrUnauthenticated, ErrForbidden, ErrConflict, ErrNotFound}
	if err != nil && !slices.ContainsFunc(known, func(sentinel error) bool { return errors.Is(err, sentinel) }) {
		c.t.Errorf("%s: %v", what, err)
	}
	return err == nil
}

// use logs in and does something with the session.
func (c *crowd) use(ctx context.Context, random *rand.Rand) {
	user := c.anyUser(random)
	call := interval{began: time.Now()}
	tokens, err := c.Login(ctx, Login{Username: user.Username, Password: password}, Client{})
	call.ended = time.Now()
	if !c.refusedOnly("login", err) {
		return
	}
	c.keepTokens(call, tokens)
	for range 3 {
		call = interval{began: time.Now()}
		switch random.IntN(4) {
		case 1:
			c.exchange(ctx, tokens)
		case 0:
			next, err := c.Refresh(ctx, tokens.RefreshToken, Client{})
			call.ended = time.Now()
			if c.refusedOnly("refresh", err) {
				tokens = next
				c.keepTokens(call, tokens)
			}
		default:
			caller, err := c.AuthenticateBearer(ctx, tokens.AccessToken, Client{})
			if !c.refusedOnly("authenticate", err) {
				continue
			}
			key, err := c.CreateAPIKey(ctx, caller, NewAPIKey{Name: "new", Mode: events.ModeLive})
			if c.refusedOnly("create key", err) {
				call.ended = time.Now()
				c.keep(granted{interval: call, user: user.ID, key: c.learn(key)})
			}
		}
	}
}

// takeAway is an admin who ends something.
func (c *crowd) takeAway(ctx context.Context, random *rand.Rand) {
	tokens, err := c.Login(ctx, Login{Username: "root", Password: password}, Client{})
	if err != nil {
		c.t.Errorf("admin: %v", err)
		return
	}
	root, err := c.AuthenticateBearer(ctx, tokens.AccessToken, Client{})
	if !c.refusedOnly("admin", err) {
		return
	}
	k, end := c.anyEnd(ctx, root, random)
	k.began = time.Now()
	err = end()
	k.ended = time.Now()
	if !c.refusedOnly(k.name, err) {
		k.must = func(granted) bool { return false } // it may have done it before the admin lost the right; or not
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killed = append(c.killed, k)
}

func nothing(granted) bool      { return false }
func (g granted) isToken() bool { return g.token != "" }

func (c *crowd) anyEnd(ctx context.Context, root Caller, random *rand.Rand) (killing, func() error) {
	user, g := c.anyUser(random), c.anyGranted(random)
	ofUser := func(g granted) bool { return g.user == user.ID }
	tokensOfUser := func(g granted) bool { return g.user == user.ID && g.isToken() }
	revoke := func(r Revocation) func() error {
		return func() error { _, err := c.Revoke(ctx, root, r); return err }
	}
	everything := func(granted) bool { return true }
	switch random.IntN(30) {
	case 0:
		return killing{name: "disable", must: tokensOfUser, may: ofUser}, func() error {
			_, _, err := c.SetStatus(ctx, root, user.ID, true)
			return err
		}
	case 1, 2:
		return killing{name: "enable", must: nothing, may: nothing}, func() error {
			_, _, err := c.SetStatus(ctx, root, user.ID, false)
			return err
		}
	case 3:
		roles := []string{RoleUser, "editor"}[:1+random.IntN(2)]
		return killing{name: "roles", must: nothing, may: nothing}, func() error {
			_, _, err := c.SetRoles(ctx, root, user.ID, roles)
			return err
		}
	case 4:
		return killing{name: "revoke user", must: tokensOfUser, may: tokensOfUser}, func() error {
			_, err := c.RevokeUser(ctx, root, user.ID)
			return err
		}
	case 5:
		return killing{name: "revoke with keys", must: ofUser, may: ofUser}, revoke(Revocation{UserID: &user.ID})
	case 6:
		return killing{name: "delete", must: ofUser, may: ofUser}, func() error {
			c.newUser(ctx)
			_, err := c.DeleteUser(ctx, root, user.ID)
			return err
		}
	case 7:
		keys := random.IntN(2) == 0
		covered := func(g granted) bool { return keys || g.isToken() }
		return killing{name: "all", must: covered, may: covered}, revoke(Revocation{All: true, Keys: &keys})
	case 8:
		return killing{name: "role", must: nothing, may: everything}, revoke(Revocation{Role: ptr("editor")})
	case 9:
		return killing{name: "emergency", must: granted.isToken, may: granted.isToken}, func() error {
			_, _, err := c.RotateSigningKey(ctx, root, true)
			return err
		}
	}
	switch one := func(other granted) bool {
		return (other.jti == g.jti || other.of == g.jti && g.isToken()) && other.key.ID == g.key.ID
	}; {
	case !g.isToken():
		return killing{name: "key", must: one, may: one}, revoke(Revocation{APIKeyID: &g.key.ID})
	case random.IntN(2) == 0:
		return killing{name: "jti", must: one, may: one}, revoke(Revocation{JTI: &g.jti})
	}
	session := func(other granted) bool { return other.session == g.session && other.isToken() }
	return killing{name: "session", must: session, may: session}, revoke(Revocation{SessionID: &g.session})
}

// judge compares what every credential's verdicts are with what was done.
func (c *crowd) judge() {
	t := c.t
	k := tellAll(t, c.beside, "")
	alive := 0
	for _, g := range c.granted {
		var v verdict
		name := "key " + g.key.ID
		if g.isToken() {
			var claims accessClaims
			claims, v = c.judgeToken(t, k, g.token)
			name = "token " + g.jti
			if v.auth && !claims.derived() {
				c.checkRoles(t, k, claims)
			}
		} else {
			v = c.judgeKey(t, k, g.key)
		}
		if v.auth {
			alive++
		}
		c.checkGranted(name, g, v)
	}
	t.Logf("%d credentials, %d alive in the end; %d calls that end trust", len(c.granted), alive, len(c.killed))
}

func (c *crowd) checkGranted(name string, g granted, v verdict) {
	if !v.agreed() {
		c.t.Errorf("%s: %v", name, v)
	}
	explained := false
	for _, k := range c.killed {
		if v.auth && g.before(k.interval) && k.must(g) {
			c.t.Errorf("%s lives, though it was issued before %q began", name, k.name)
		}
		explained = explained || k.may(g) && !k.before(g.interval)
	}
	if !v.auth && !explained {
		c.disabledNow(name, g)
	}
}

// disabledNow excuses a dead credential whose user is disabled.
func (c *crowd) disabledNow(name string, g granted) {
	var user store.User
	err := c.db.View(c.t.Context(), func(tx *store.Tx) (err error) {
		user, err = tx.User(c.t.Context(), g.user)
		return err
	})
	if err != nil || !user.Disabled {
		c.t.Errorf("%s is dead, and nothing has ended it (%v)", name, err)
	}
}
