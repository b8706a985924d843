package verifier

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Config is what every verifier needs. All fields are required.
type Config struct {
	// Issuer is compared with iss character by character, and is the base URL of the feed keys. It MUST be an https
	// URL, or an http URL of a loopback host.
	Issuer string
	// Audience must be in a token's aud.
	Audience string
	// Service is this service's name on the bus, [a-z0-9_-]{1,32}.
	Service string
	// NATSURL is one NATS URL or several, separated by commas.
	NATSURL string
}

// Option changes one default of [New].
type Option func(*settings) error

// settings are Config and options together.
type settings struct {
	Config

	instance     string
	credentials  string
	natsOptions  []nats.Option
	feedKeysFile string
	httpClient   *http.Client
	bound        time.Duration
	policy       StalePolicy
	mode         events.Mode
	tokens, keys int
	askLimit     int
	log          *slog.Logger
}

// Defaults of the options.
const (
	DefaultMaxStaleness  = 30 * time.Second
	defaultTokens        = 1 << 16
	defaultKeys          = 1 << 13
	defaultAskLimit      = 64
	maxCacheEntries      = 1 << 24
	maxServeStale        = 24 * time.Hour
	maxConcurrentAnswers = 1 << 16
)

// WithInstance names this instance in receipts and lists. Default: host name, process id and random characters.
func WithInstance(name string) Option {
	return func(s *settings) error {
		if !events.ValidText(name) {
			return errors.New("instance must be 1 to 256 bytes of text")
		}
		s.instance = name
		return nil
	}
}

// WithNATSCredentials names a file with an NKey seed (.nk) or a .creds file. Default: none.
func WithNATSCredentials(path string) Option {
	return func(s *settings) error {
		if path == "" {
			return errors.New("NATS credentials: the path is empty")
		}
		s.credentials = path
		return nil
	}
}

// WithNATSOptions adds connection options, as for TLS, after the verifier's own. Default: none.
func WithNATSOptions(opts ...nats.Option) Option {
	return func(s *settings) error {
		s.natsOptions = append(s.natsOptions, opts...)
		return nil
	}
}

// WithMaxStaleness sets B: a request is decided on knowledge at most that old. Routes can have a smaller one. At least
// 1 s, at most 5 min. Default: 30 s.
func WithMaxStaleness(b time.Duration) Option {
	return func(s *settings) error {
		if b < events.MinBound || b > events.MaxBound {
			return fmt.Errorf("max staleness must be from %v to %v", events.MinBound, events.MaxBound)
		}
		s.bound = b
		return nil
	}
}

// WithStalePolicy says what routes do while the verifier isn't fresh. Default: [Deny].
func WithStalePolicy(p StalePolicy) Option {
	return func(s *settings) error {
		s.policy = p
		return p.validate()
	}
}

// WithAskLimit bounds how many requests may wait for authsvc at once under the policy [Ask]; the others are refused
// with [ErrStale]. As many questions again may be in flight for long answers. From 1 to 65,536. Default: 64.
func WithAskLimit(n int) Option {
	return func(s *settings) error {
		if n < 1 || n > maxConcurrentAnswers {
			return fmt.Errorf("ask limit must be from 1 to %d", maxConcurrentAnswers)
		}
		s.askLimit = n
		return nil
	}
}

// WithFeedKeysFile pins the feed keys to those of a JWK set in a file. Default: they are fetched from the issuer.
func WithFeedKeysFile(path string) Option {
	return func(s *settings) error {
		if path == "" {
			return errors.New("feed keys file: the path is empty")
		}
		s.feedKeysFile = path
		return nil
	}
}

// WithAllowTest makes the verifier accept test tokens and test keys, and only those. Default: live ones only.
func WithAllowTest() Option {
	return func(s *settings) error {
		s.mode = events.ModeTest
		return nil
	}
}

// WithLogger sets where changes of the connection and of freshness are logged; no credential ever is. Default: slog.Default().
func WithLogger(log *slog.Logger) Option {
	return func(s *settings) error {
		if log == nil {
			return errors.New("logger is nil")
		}
		s.log = log
		return nil
	}
}

// WithHTTPClient sets the client that fetches the feed keys. Default: one with short time-outs.
func WithHTTPClient(c *http.Client) Option {
	return func(s *settings) error {
		if c == nil {
			return errors.New("HTTP client is nil")
		}
		s.httpClient = c
		return nil
	}
}

// WithTokenCacheSize sets for how many tokens in use there is room; each needs about 2 KiB. Beyond it, tokens that were
// not used lately are verified again. From 1 to 16,777,216. Default: 65,536.
func WithTokenCacheSize(n int) Option {
	return func(s *settings) error {
		s.tokens = n
		return validateCacheSize("token", n)
	}
}

// WithKeyCacheSize sets for how many API keys in use there is room. Beyond it, keys that were not used lately are
// resolved again. From 1 to 16,777,216. Default: 8,192.
func WithKeyCacheSize(n int) Option {
	return func(s *settings) error {
		s.keys = n
		return validateCacheSize("key", n)
	}
}

func validateCacheSize(name string, n int) error {
	if n < 1 || n > maxCacheEntries {
		return fmt.Errorf("%s cache size must be from 1 to %d", name, maxCacheEntries)
	}
	return nil
}

func newSettings(cfg Config, opts []Option) (*settings, error) {
	s := &settings{
		Config: cfg, instance: defaultInstance(), bound: DefaultMaxStaleness, policy: Deny, mode: events.ModeLive,
		tokens: defaultTokens, keys: defaultKeys, askLimit: defaultAskLimit, log: slog.Default(),
	}
	for _, opt := range opts {
		if err := opt(s); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return s, nil
}

// validate checks what is required, and the fields against each other.
func (s *settings) validate() error {
	if err := validateIssuer(s.Issuer); err != nil {
		return err
	}
	switch {
	case !events.ValidText(s.Audience), strings.TrimSpace(s.Audience) != s.Audience:
		return errors.New("audience is required, without space around it")
	case !events.ValidService(s.Service):
		return errors.New("service must match [a-z0-9_-]{1,32}")
	case !natsURLs(s.NATSURL):
		return errors.New("NATS URL is required: nats://host:port, or several, separated by commas")
	case s.policy.serveFor() > 0 && s.policy.serveFor() < s.bound:
		return errors.New("serve-stale must be longer than the max staleness")
	}
	return nil
}

// validateIssuer keeps the trust anchor off the network unless TLS guards it.
func validateIssuer(issuer string) error {
	if issuer == "" {
		return errors.New("issuer is required")
	}
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(issuer, "#") {
		return errors.New("issuer must be an absolute URL without user, query and fragment")
	}
	if strings.HasSuffix(u.Path, "/") {
		return errors.New("issuer must not end in /")
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()) {
		return nil
	}
	return errors.New("issuer must be an https URL, or http on a loopback host")
}

// natsURLs reports whether a list could be one of servers; their scheme may be left out, and parts may be empty.
func natsURLs(list string) bool {
	servers := 0
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		if !strings.Contains(one, "://") {
			one = "nats://" + one
		}
		if u, err := url.Parse(one); err != nil || u.Hostname() == "" {
			return false
		}
		servers++
	}
	return servers > 0
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func defaultInstance() string {
	host, err := os.Hostname()
	if err != nil || !events.ValidText(host) || len(host) > 200 {
		host = "unknown"
	}
	var b [4]byte
	rand.Read(b[:])
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), hex.EncodeToString(b[:]))
}
