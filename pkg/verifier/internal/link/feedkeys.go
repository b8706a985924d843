package link

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/jwk"
)

const (
	feedKeysPath     = "/.well-known/tocsin-feed.json"
	feedKeysTimeout  = 5 * time.Second
	feedKeysAgain    = time.Second     // at the latest, while there are none
	feedKeysCoolDown = 5 * time.Second // between loads because of unknown kids
	feedKeysEvery    = 5 * time.Minute // so that a key that the issuer withdrew is dropped without a message to tell
)

// source gives the bytes of the feed key set: the trust anchor.
type source interface {
	load(ctx context.Context) ([]byte, error)
}

// newSource returns the pinned file, which must be good now, or the issuer.
func newSource(cfg Config) (source, error) {
	if cfg.FeedKeysFile != "" {
		pinned := fileSource(cfg.FeedKeysFile)
		data, err := pinned.load(context.Background())
		if err == nil {
			_, err = parseFeedKeys(data)
		}
		if err != nil {
			return nil, fmt.Errorf("feed keys file: %w", err)
		}
		return pinned, nil
	}
	if err := checkIssuer(cfg.Issuer); err != nil {
		return nil, err
	}
	return httpSource{url: strings.TrimSuffix(cfg.Issuer, "/") + feedKeysPath, client: httpClient(cfg.HTTPClient)}, nil
}

type fileSource string

func (path fileSource) load(context.Context) ([]byte, error) {
	file, err := os.Open(string(path))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readLimited(file)
}

// checkIssuer refuses an issuer from which nothing could be fetched safely.
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return errors.New("issuer: not a URL of scheme, host and path")
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return nil
	}
	return errors.New("issuer: plain HTTP is for loopback hosts only; use https or pin the feed keys in a file")
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

type httpSource struct {
	url    string
	client *http.Client
}

// httpClient returns a copy of the caller's client, or a plain one, that follows no redirect: the keys come from the
// issuer's own URL or not at all.
func httpClient(given *http.Client) *http.Client {
	client := &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: feedKeysTimeout, DisableKeepAlives: true,
	}}
	if given != nil {
		c := *given
		client = &c
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client
}

func (s httpSource) load(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, feedKeysTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", s.url, response.Status)
	}
	return readLimited(response.Body)
}

// readLimited reads one byte more than a set may have, so that the parser sees that it is too long.
func readLimited(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, jwk.MaxSize+1)) }

func parseFeedKeys(data []byte) (map[string]ed25519.PublicKey, error) {
	set, err := jwk.Parse(data)
	if err != nil {
		return nil, err
	}
	keys := make(map[string]ed25519.PublicKey)
	for kid, k := range set.Keys {
		if public, ok := k.Key.(ed25519.PublicKey); ok {
			keys[kid] = public
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: no Ed25519 key", jwk.ErrInvalid)
	}
	return keys, nil
}

// feedKeys holds the feed keys. Only its own goroutine replaces them, and only by what the source gives.
type feedKeys struct {
	issuer string
	source source
	log    *slog.Logger
	set    atomic.Pointer[events.KeySet]
	err    atomic.Pointer[error] // of the last load, if it failed
	demand chan struct{}
}

func newFeedKeys(issuer string, source source, log *slog.Logger) *feedKeys {
	return &feedKeys{issuer: issuer, source: source, log: log, demand: make(chan struct{}, 1)}
}

// verify checks a message. An unknown kid makes the keys be loaded again, soon.
func (k *feedKeys) verify(kind events.Kind, kid, signature string, body []byte) error {
	set := k.set.Load()
	if set == nil {
		return events.ErrUnknownKey
	}
	err := set.Verify(kind, kid, signature, body)
	if errors.Is(err, events.ErrUnknownKey) {
		select {
		case k.demand <- struct{}{}:
		default:
		}
	}
	return err
}

// size returns the number of keys; 0 before the first load.
func (k *feedKeys) size() int {
	if set := k.set.Load(); set != nil {
		return len(set.Keys)
	}
	return 0
}

func (k *feedKeys) load(ctx context.Context) error {
	data, err := k.source.load(ctx)
	if err == nil {
		var keys map[string]ed25519.PublicKey
		if keys, err = parseFeedKeys(data); err == nil {
			k.set.Store(&events.KeySet{Issuer: k.issuer, Keys: keys})
			k.err.Store(nil)
			return nil
		}
	}
	err = fmt.Errorf("load feed keys: %w", err)
	k.err.Store(&err)
	return err
}

// loadFirst tries until it has keys or the context ends.
func (k *feedKeys) loadFirst(ctx context.Context) error {
	wait := 100 * time.Millisecond
	for failures := 0; ; failures++ {
		err := k.load(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if failures == 0 {
			k.log.Warn("no feed keys yet, trying on", "error", err)
		}
		if !pause(ctx, jitter(wait)) {
			return ctx.Err()
		}
		wait = min(2*wait, feedKeysAgain)
	}
}

// keep loads the keys again on demand and now and then, and calls loaded after it. A load that fails changes nothing.
func (k *feedKeys) keep(ctx context.Context, loaded func()) {
	for {
		timer := time.NewTimer(jitter(feedKeysEvery))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-k.demand:
			timer.Stop()
		}
		if err := k.load(ctx); err != nil {
			k.log.Warn("keeping the feed keys that are held", "error", err)
		} else {
			loaded()
		}
		if !pause(ctx, feedKeysCoolDown) {
			return
		}
	}
}

// jitter returns a duration between three quarters and all of d.
func jitter(d time.Duration) time.Duration { return d*3/4 + rand.N(d/4+1) }

// pause waits, and returns false if the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
