package faults

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/test/system"
)

// member is one verifier of a crowd: its own connection, set and signatures, as if it were a process of its own.
type member struct {
	*verifier.Verifier
	route *verifier.Route
}

// crowd is many verifiers beside a system, and what they say of credentials.
type crowd struct {
	*System
	t       *testing.T
	proxies []*Proxy // of all of them, one to each NATS node
	members []member
	good    system.User

	mu       sync.Mutex
	dead     []*deadToken
	refusals []string // of the good credential
	calls    int
	rss      int64 // the largest of any authsvc
}

// deadToken is one whose revocation has returned at a time, and by when the last member and service had refused it.
type deadToken struct {
	raw      string
	returned time.Time
	last     time.Time // when the last accepted call began
}

// start starts n verifiers at once, which know nothing yet.
func (c *crowd) start(n int) {
	t, s := c.t, c.System
	seed := s.Auth[0].DataDir + "/nats/resourcesvc.nk"
	if s.nats == nil {
		c.proxies = []*Proxy{StartProxy(t, strings.TrimPrefix(s.Auth[0].NATSURL, "nats://"))}
	} else {
		seed = s.nats.SeedFile("resourcesvc")
		for i := range 3 {
			c.proxies = append(c.proxies, StartProxy(t, strings.TrimPrefix(s.nats.NodeURL(i), "nats://")))
		}
	}
	for i := range n {
		v, err := verifier.New(t.Context(), verifier.Config{Issuer: s.Auth[0].Issuer, Audience: "tocsin", Service: "resourcesvc", NATSURL: urls(c.proxies)},
			verifier.WithInstance(fmt.Sprintf("crowd-%03d", i)), verifier.WithNATSCredentials(seed), verifier.WithMaxStaleness(s.bound),
			verifier.WithTokenCacheSize(64), verifier.WithKeyCacheSize(64), verifier.WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		route, err := v.Route()
		if err != nil {
			t.Fatal(err)
		}
		c.members = append(c.members, member{v, route})
	}
	t.Cleanup(c.close)
}

func (c *crowd) close() {
	var closing sync.WaitGroup
	for _, m := range c.members {
		closing.Go(func() { m.Close() })
	}
	closing.Wait()
}

// awaitFresh returns when every member has a proof that was asked for after a moment.
func (c *crowd) awaitFresh(since time.Time) {
	c.t.Helper()
	deadline := time.Now().Add(2 * patience)
	for _, m := range c.members {
		for {
			looked := time.Now()
			if s := m.Stats(); s.Proofs > 0 && s.ProofAge < looked.Sub(since) {
				break
			}
			if looked.After(deadline) {
				c.t.Fatalf("a member isn't fresh: %v; %+v", m.Ready(), m.Stats())
			}
			time.Sleep(time.Millisecond) // real sockets: nothing else tells
		}
	}
}

// watch uses credentials everywhere until the returned function is called.
func (c *crowd) watch() (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		for pause(ctx, 25*time.Millisecond) {
			c.checkMembers(ctx)
			c.weigh()
		}
	})
	for _, r := range c.Resources {
		watching.Go(func() {
			for pause(ctx, 10*time.Millisecond) {
				c.checkResource(ctx, r)
			}
		})
	}
	return func() { cancel(); watching.Wait() }
}

// checkMembers uses the good token and each dead one at every member.
func (c *crowd) checkMembers(ctx context.Context) {
	dead := c.deadOnes()
	for i, m := range c.members {
		_, err := m.Verify(ctx, verifier.Bearer(c.good.Token), m.route)
		c.judge(ctx, err == nil, fmt.Sprintf("member %d: %v", i, err))
		for _, d := range dead {
			began := time.Now()
			if _, err := m.Verify(ctx, verifier.Bearer(d.raw), m.route); err == nil {
				c.accepted(d, began)
			}
		}
	}
}

func (c *crowd) checkResource(ctx context.Context, r *Resource) {
	got, err := r.Try(ctx, "GET", "/v1/whoami", c.good.Auth(), nil)
	c.judge(ctx, err == nil && got.Status == 200, fmt.Sprintf("%s: %v %v", r.Instance, got, err))
	for _, d := range c.deadOnes() {
		began := time.Now()
		if got, err := r.Try(ctx, "GET", "/v1/whoami", system.Bearer(d.raw), nil); err == nil && got.Status == 200 {
			c.accepted(d, began)
		}
	}
}

func (c *crowd) deadOnes() []*deadToken {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*deadToken(nil), c.dead...)
}

func (c *crowd) judge(ctx context.Context, ok bool, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if !ok && ctx.Err() == nil {
		c.refusals = append(c.refusals, what)
	}
}

func (c *crowd) accepted(d *deadToken, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if began.After(d.last) {
		d.last = began
	}
}

// mustKnowAll fails the test for every member that accepts what was revoked.
func (c *crowd) mustKnowAll() {
	c.t.Helper()
	for i, m := range c.members {
		for _, d := range c.deadOnes() {
			if _, err := m.Verify(c.t.Context(), verifier.Bearer(d.raw), m.route); verifier.CodeOf(err) != verifier.CodeRevoked {
				c.t.Errorf("member %d says %v of a token that was revoked before its proof", i, err)
			}
		}
	}
}

// logIn returns tokens of one more user, to be revoked.
func (c *crowd) logIn(n int) (tokens []string) {
	u := c.Auth[0].Register(c.t, fmt.Sprintf("victim%d", len(c.dead)))
	for range n {
		c.Auth[0].Login(c.t, &u)
		tokens = append(tokens, u.Token)
	}
	return tokens
}

// revoke ends tokens, with a burst of events about nobody between.
func (c *crowd) revoke(admin system.User, tokens ...string) error {
	for _, raw := range tokens {
		for range 10 {
			if err := c.strike(admin, map[string]any{"jti": nobodysToken()}); err != nil {
				return err
			}
		}
		if err := c.strike(admin, map[string]any{"token": raw}); err != nil {
			return err
		}
		c.mu.Lock()
		c.dead = append(c.dead, &deadToken{raw: raw, returned: time.Now()})
		c.mu.Unlock()
	}
	return nil
}

func (c *crowd) strike(admin system.User, selector map[string]any) error {
	for began := time.Now(); ; {
		got, err := c.Auth[0].Try(c.t.Context(), "POST", "/v1/admin/revocations?wait=none", admin.Auth(), selector)
		switch {
		case err != nil || got.Status == 200:
			return err
		case got.Status != 503 || time.Since(began) > patience: // who is busy is asked again
			return fmt.Errorf("revoking: %v", got)
		}
	}
}

// weigh notes the memory of authsvc.
func (c *crowd) weigh() {
	for _, a := range c.Auth {
		if n, err := a.RSS(); err == nil {
			c.mu.Lock()
			c.rss = max(c.rss, n)
			c.mu.Unlock()
		}
	}
}

// processorTime is what every authsvc that runs now has used, in user and kernel mode.
func (c *crowd) processorTime() (sum time.Duration) {
	const tick = 10 * time.Millisecond // of Linux, whatever the kernel's own
	for _, a := range c.Auth {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", a.PID()))
		if err != nil {
			c.t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		for _, field := range strings.Fields(rest)[11:13] {
			n, _ := strconv.Atoi(field)
			sum += time.Duration(n) * tick
		}
	}
	return sum
}

// verdict fails the test for every good call that was refused, unless that may be, and for a dead token that was accepted past B.
func (c *crowd) verdict(mayRefuse bool) (latest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.refusals); n > 0 && !mayRefuse {
		c.t.Errorf("NoCollateral: %d of %d good calls were refused, as by %s", n, c.calls, c.refusals[0])
	}
	for _, d := range c.dead {
		late := d.last.Sub(d.returned)
		if latest = max(latest, late); late > c.bound {
			c.t.Errorf("BoundedAcceptance: a token was accepted %v after its revocation", late)
		}
	}
	return latest
}
