package speed

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

const (
	redisExists    = "Redis EXISTS"
	redisPipelined = "Redis EXISTS, pipelined by 100"
	jwtRedis       = "golang-jwt, EdDSA, and Redis EXISTS"
	jwtRedisPiped  = "golang-jwt, EdDSA, and Redis EXISTS, pipelined by 100"
	optIn          = "rueidis client-side cache (opt-in), hit"
	optInTouch     = "rueidis client-side cache (opt-in), first touch"
	optInMany      = "rueidis client-side cache (opt-in), hit, one of many"
	broadcast      = "rueidis client-side cache (broadcasting), hit"
	broadcastTouch = "rueidis client-side cache (broadcasting), first touch"
	jwtOptIn       = "golang-jwt, EdDSA, and a hit of rueidis (opt-in)"
)

const (
	keyPrefix = "revoked:"
	pipeline  = 100
	// keptFor is how long clients may keep what they read; longer than the run.
	keptFor = time.Hour
)

// startRedis starts a Redis of this test's own, which syncs each write to the disk. It returns its address, or "" where
// there is none, which fails the test if TOCSIN_REQUIRE names redis.
func startRedis(t *testing.T, why map[string]string) string {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv(pgtest.EnvRequire), ","), "redis") {
			t.Fatal("redis-server isn't installed (apt-get install redis-server), and " + pgtest.EnvRequire + " names it")
		}
		why["Redis"] = "no redis-server on this machine (apt-get install redis-server)"
		return ""
	}
	addr := system.FreeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	var output bytes.Buffer
	cmd := exec.Command(binary, "--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir(), "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no")
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the kernel's death signal is sent when the thread dies that started the process
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
	})
	awaitRedis(t, addr, done, &output)
	return addr
}

func awaitRedis(t *testing.T, addr string, ended <-chan struct{}, output *bytes.Buffer) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		c, err := rueidis.NewClient(clientOption(addr))
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("Redis ended:\n%s", output)
		case <-time.After(10 * time.Millisecond): // a real process: nothing else tells when it listens
		}
		if time.Now().After(deadline) {
			t.Fatalf("Redis isn't ready: %v", err)
		}
	}
}

func clientOption(addr string, tracking ...string) rueidis.ClientOption {
	return rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, ClientTrackingOptions: tracking}
}

func connectRedis(t *testing.T, addr string, tracking ...string) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(clientOption(addr, tracking...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// denyList is one in Redis, as is usual: a key for each revoked token, which lives as long as that.
func (w *world) denyList(t *testing.T, p *parser, c crowd) []contender {
	if w.redis == "" {
		return nil
	}
	plain, opting := connectRedis(t, w.redis), connectRedis(t, w.redis)
	casting := connectRedis(t, w.redis, "PREFIX", keyPrefix, "BCAST")
	fill(t, plain, idsOf(w.dead))
	hit := keyPrefix + idOf(w.token)
	return []contender{
		{redisExists, false, times(func() error { return exists(plain, hit) })},
		{redisPipelined, false, pipelined(plain, func() (string, error) { return hit, nil })},
		{jwtRedis, false, times(func() error {
			c, err := p.verify(w.token)
			if err != nil {
				return err
			}
			return exists(plain, keyPrefix+c.ID)
		})},
		{jwtRedisPiped, false, pipelined(plain, func() (string, error) {
			c, err := p.verify(w.token)
			return keyPrefix + c.ID, err
		})},
		{optIn, true, cached(opting, hit)},
		{optInMany, true, cached(opting, keysOf(c.tokens)...)},
		{optInTouch, false, touching(opting)},
		{broadcast, true, cached(casting, hit)},
		{broadcastTouch, false, touching(casting)},
		{jwtOptIn, true, times(func() error {
			c, err := p.verify(w.token)
			if err != nil {
				return err
			}
			_, err = missing(opting, keyPrefix+c.ID)
			return err
		})},
	}
}

func fill(t *testing.T, c rueidis.Client, ids []string) {
	t.Helper()
	for _, id := range ids {
		if err := c.Do(t.Context(), c.B().Set().Key(keyPrefix+id).Value("1").ExSeconds(4*3600).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
}

func keysOf(tokens []string) []string {
	keys := idsOf(tokens)
	for i := range keys {
		keys[i] = keyPrefix + keys[i]
	}
	return keys
}

func exists(c rueidis.Client, key string) error {
	n, err := c.Do(context.Background(), c.B().Exists().Key(key).Build()).AsInt64()
	if err == nil && n != 0 {
		err = errRevoked
	}
	return err
}

// pipelined sends a hundred at once; the time is that of one.
func pipelined(c rueidis.Client, next func() (string, error)) func(n int) error {
	return func(n int) error {
		batch := make(rueidis.Commands, 0, pipeline)
		for ; n > 0; n -= pipeline {
			batch = batch[:0]
			for range min(n, pipeline) {
				key, err := next()
				if err != nil {
					return err
				}
				batch = append(batch, c.B().Exists().Key(key).Build())
			}
			for _, r := range c.DoMulti(context.Background(), batch...) {
				if found, err := r.AsInt64(); err != nil || found != 0 {
					return errors.Join(err, errRevoked)
				}
			}
		}
		return nil
	}
}

// missing asks for a key through the client's cache. EXISTS isn't cached by it, so it is GET.
func missing(c rueidis.Client, key string) (hit bool, err error) {
	r := c.DoCache(context.Background(), c.B().Get().Key(key).Cache(), keptFor)
	switch err := r.Error(); {
	case err == nil:
		return false, errRevoked
	case !rueidis.IsRedisNil(err):
		return false, err
	}
	return r.IsCacheHit(), nil
}

// cached asks for keys in turn, which are all in the client's cache from the first call on.
func cached(c rueidis.Client, keys ...string) func(n int) error {
	next, filled := 0, false
	return func(n int) error {
		for _, key := range keys {
			if filled {
				break
			}
			if _, err := missing(c, key); err != nil {
				return err
			}
		}
		filled = true
		for range n {
			if next++; next >= len(keys) {
				next = 0
			}
			hit, err := missing(c, keys[next])
			if err != nil {
				return err
			}
			if !hit {
				return errors.New("not in the client's cache")
			}
		}
		return nil
	}
}

// touching asks for keys that the client has never seen.
func touching(c rueidis.Client) func(n int) error {
	seen := 0
	return func(n int) error {
		for range n {
			seen++
			if hit, err := missing(c, keyPrefix+"never-"+strconv.Itoa(seen)); err != nil || hit {
				return errors.Join(err, errors.New("was seen"))
			}
		}
		return nil
	}
}
