package link

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/jwk"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
)

func public(seeds ...byte) []ed25519.PublicKey {
	var keys []ed25519.PublicKey
	for _, seed := range seeds {
		keys = append(keys, newKey(seed).Public().(ed25519.PublicKey))
	}
	return keys
}

func TestFeedKeysComeFromTheIssuersOwnURL(t *testing.T) {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	mux.HandleFunc("/tenant"+feedKeysPath, func(w http.ResponseWriter, _ *http.Request) { w.Write(jwks(public('f'))) })
	mux.HandleFunc("/moved"+feedKeysPath, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/tenant"+feedKeysPath, http.StatusFound)
	})
	mux.HandleFunc("/large"+feedKeysPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Write(jwks(public('f')))
		fmt.Fprint(w, strings.Repeat(" ", jwk.MaxSize))
	})
	for path, good := range map[string]bool{"/tenant": true, "/tenant/": true, "/moved": false, "/large": false, "/absent": false} {
		t.Run(path, func(t *testing.T) {
			source, err := newSource(Config{Issuer: server.URL + path})
			if err != nil {
				t.Fatal(err)
			}
			keys := newFeedKeys(server.URL+path, source, slog.New(slog.DiscardHandler))
			if err := keys.load(context.Background()); (err == nil) != good {
				t.Fatalf("got %v", err)
			}
			if (keys.size() == 1) != good {
				t.Fatalf("%d keys", keys.size())
			}
		})
	}
}

func TestIssuersThatAreNotFetchedFrom(t *testing.T) {
	for _, issuer := range []string{
		"", "auth.example.com", "http://auth.example.com", "http://10.0.0.1", "http://localhost.example.com", "ftp://localhost",
		"https://user:secret@auth.example.com", "https://auth.example.com?x=1", "https://auth.example.com#x", "http://", "%",
	} {
		if _, err := newSource(Config{Issuer: issuer}); err == nil {
			t.Errorf("%q is taken", issuer)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
	for _, issuer := range []string{"https://auth.example.com", "https://auth.example.com/x", "http://127.0.0.1:8080", "http://[::1]:80", "http://localhost"} {
		if _, err := newSource(Config{Issuer: issuer}); err != nil {
			t.Errorf("%q: %v", issuer, err)
		}
	}
}

func TestPinnedFeedKeysMustBeGoodAtTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "feed.json")
	if _, err := newSource(Config{FeedKeysFile: path}); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("absent: %v", err)
	}
	write := func(data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte(`{"keys":[]}`))
	if _, err := newSource(Config{FeedKeysFile: path}); !errors.Is(err, jwk.ErrInvalid) {
		t.Fatalf("empty set: %v", err)
	}
	write(jwks(public('f', 'g')))
	source, err := newSource(Config{FeedKeysFile: path, Issuer: "http://wherever.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	keys := newFeedKeys(testIssuer, source, slog.New(slog.DiscardHandler))
	if err := keys.load(context.Background()); err != nil || keys.size() != 2 {
		t.Fatalf("%d keys, %v", keys.size(), err)
	}
}

// changingSource is a source whose keys can be replaced.
type changingSource struct {
	data  atomic.Pointer[[]byte]
	loads atomic.Int32
}

func (s *changingSource) set(data []byte) { s.data.Store(&data) }

func (s *changingSource) load(context.Context) ([]byte, error) {
	s.loads.Add(1)
	return *s.data.Load(), nil
}

func TestFeedKeysAreReplacedByTheSourceOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		source := &changingSource{}
		source.set(jwks(public('f')))
		keys := newFeedKeys(testIssuer, source, slog.New(slog.DiscardHandler))
		if err := keys.loadFirst(ctx); err != nil {
			t.Fatal(err)
		}
		go keys.keep(ctx, func() {})
		check := func(seed byte) error {
			signer := events.NewSigner(testIssuer, newKey(seed))
			return keys.verify(events.KindFeed, signer.KeyID(), signer.Sign(events.KindFeed, []byte("x")), []byte("x"))
		}
		if err := check('f'); err != nil {
			t.Fatal(err)
		}
		source.set(jwks(public('g')))
		if err := check('g'); !errors.Is(err, events.ErrUnknownKey) {
			t.Fatalf("before it was fetched: %v", err)
		}
		for range 100 {
			if err := check('x'); !errors.Is(err, events.ErrUnknownKey) {
				t.Fatalf("a key that nobody has: %v", err)
			}
		}
		synctest.Wait()
		if err := check('g'); err != nil {
			t.Fatalf("after an unknown kid: %v", err)
		}
		if err := check('f'); !errors.Is(err, events.ErrUnknownKey) {
			t.Fatalf("the withdrawn key: %v", err)
		}
		time.Sleep(feedKeysCoolDown)
		synctest.Wait()
		if n := source.loads.Load(); n > 3 {
			t.Fatalf("%d loads", n)
		}
		source.set([]byte(`{"keys":[]}`)) // a broken issuer must not take away what is held
		time.Sleep(2 * feedKeysEvery)
		synctest.Wait()
		if err := check('g'); err != nil {
			t.Fatalf("after a failed load: %v", err)
		}
		source.set(jwks(public('h'))) // withdrawn without any message that tells
		time.Sleep(2 * feedKeysEvery)
		synctest.Wait()
		if err := check('g'); !errors.Is(err, events.ErrUnknownKey) {
			t.Fatalf("the withdrawn key: %v", err)
		}
	})
}

func TestBadConfigurationIsNamedAtTheStart(t *testing.T) {
	good := Config{
		Issuer: testIssuer, Service: testService, Instance: "i", URL: "nats://127.0.0.1:1", Smallest: time.Second, Largest: time.Second,
		Clock: clock.System(), Set: revset.New(), Skipped: func() {}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	for name, change := range map[string]func(*Config){
		"NATS URL":         func(c *Config) { c.URL = "" },
		"NATS credentials": func(c *Config) { c.Credentials = filepath.Join(t.TempDir(), "absent.nk") },
		".creds":           func(c *Config) { c.Credentials = filepath.Join(t.TempDir(), "absent.creds") },
		"NATS options": func(c *Config) {
			c.NATSOptions = []nats.Option{func(*nats.Options) error { return errors.New("no good") }}
		},
		"issuer":         func(c *Config) { c.Issuer = "http://auth.example.com" },
		"feed keys file": func(c *Config) { c.FeedKeysFile = "absent.json" },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			change(&cfg)
			l, err := Start(cfg)
			if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), name) {
				t.Fatalf("got %v", err)
			}
			if l != nil {
				t.Fatal("a link in spite of the error")
			}
		})
	}
	t.Run("good", func(t *testing.T) { // nothing listens there: the link tries on until it is closed
		l, err := Start(good)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
