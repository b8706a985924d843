package verifier

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

func goodConfig() Config {
	return Config{Issuer: testIssuer, Audience: testAudience, Service: "cars", NATSURL: "nats://127.0.0.1:4222"}
}

func TestNewRefusesWhatIsNotSafe(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		opts   []Option
		names  string
	}{
		"no issuer":             {change: func(c *Config) { c.Issuer = "" }, names: "issuer"},
		"issuer without TLS":    {change: func(c *Config) { c.Issuer = "http://auth.example.com" }, names: "issuer"},
		"loopback in a name":    {change: func(c *Config) { c.Issuer = "http://localhost.evil.example" }, names: "issuer"},
		"loopback as a user":    {change: func(c *Config) { c.Issuer = "http://127.0.0.1@evil.example" }, names: "issuer"},
		"private address":       {change: func(c *Config) { c.Issuer = "http://10.0.0.1" }, names: "issuer"},
		"issuer with a query":   {change: func(c *Config) { c.Issuer = testIssuer + "/?x=1" }, names: "issuer"},
		"issuer with fragment":  {change: func(c *Config) { c.Issuer = testIssuer + "/#" }, names: "issuer"},
		"issuer not absolute":   {change: func(c *Config) { c.Issuer = "auth.example.com" }, names: "issuer"},
		"issuer of a file":      {change: func(c *Config) { c.Issuer = "file:///etc" }, names: "issuer"},
		"no audience":           {change: func(c *Config) { c.Audience = "" }, names: "audience"},
		"no service":            {change: func(c *Config) { c.Service = "" }, names: "service"},
		"wildcard service":      {change: func(c *Config) { c.Service = "*" }, names: "service"},
		"service with a dot":    {change: func(c *Config) { c.Service = "a.b" }, names: "service"},
		"service in capitals":   {change: func(c *Config) { c.Service = "Cars" }, names: "service"},
		"service too long":      {change: func(c *Config) { c.Service = strings.Repeat("a", 33) }, names: "service"},
		"no NATS URL":           {change: func(c *Config) { c.NATSURL = " " }, names: "NATS"},
		"B below a second":      {opts: []Option{WithMaxStaleness(time.Second - 1)}, names: "max staleness"},
		"B above the largest":   {opts: []Option{WithMaxStaleness(events.MaxBound + 1)}, names: "max staleness"},
		"negative serve-stale":  {opts: []Option{WithStalePolicy(ServeStale(-1))}, names: "stale"},
		"empty serve-stale":     {opts: []Option{WithStalePolicy(ServeStale(0))}, names: "stale"},
		"endless serve-stale":   {opts: []Option{WithStalePolicy(ServeStale(25 * time.Hour))}, names: "stale"},
		"serve-stale within B":  {opts: []Option{WithStalePolicy(ServeStale(time.Second))}, names: "stale"},
		"empty instance":        {opts: []Option{WithInstance("")}, names: "instance"},
		"instance with newline": {opts: []Option{WithInstance("a\nb")}, names: "instance"},
		"empty credentials":     {opts: []Option{WithNATSCredentials("")}, names: "credentials"},
		"empty feed keys file":  {opts: []Option{WithFeedKeysFile("")}, names: "feed keys"},
		"no token cache":        {opts: []Option{WithTokenCacheSize(0)}, names: "token cache"},
		"huge key cache":        {opts: []Option{WithKeyCacheSize(1 << 30)}, names: "key cache"},
		"no one may ask":        {opts: []Option{WithAskLimit(0)}, names: "ask limit"},
		"nil logger":            {opts: []Option{WithLogger(nil)}, names: "logger"},
		"nil HTTP client":       {opts: []Option{WithHTTPClient(nil)}, names: "HTTP client"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := goodConfig()
			if tc.change != nil {
				tc.change(&cfg)
			}
			v, err := New(t.Context(), cfg, tc.opts...)
			if v != nil || !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), tc.names) {
				t.Errorf("%v, %v", v, err)
			}
		})
	}
}

func TestConfigurationsThatAreGood(t *testing.T) {
	for _, issuer := range []string{
		testIssuer, testIssuer + "/tenant", "http://127.0.0.1:8080", "http://localhost", "http://[::1]:8080", "http://127.9.9.9",
	} {
		cfg := goodConfig()
		cfg.Issuer = issuer
		if _, err := newSettings(cfg, []Option{WithStalePolicy(ServeStale(time.Hour)), WithMaxStaleness(time.Second)}); err != nil {
			t.Errorf("%s: %v", issuer, err)
		}
	}
}

func TestRoutesRefuseWhatIsNotSafe(t *testing.T) {
	r := newRig(t)
	for name, opt := range map[string]RouteOption{
		"no roles": AnyRole(), "empty role": Role(""), "role with a blank": Role("a b"), "B below a second": MaxStaleness(1),
		"B above the verifier's": MaxStaleness(31 * time.Second), "negative serve-stale": OnStale(ServeStale(-5)),
	} {
		if _, err := r.Route(opt); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRoutesOfOneVerifierDoNotShareRequirements(t *testing.T) {
	r := newRig(t)
	r.route(Elite(), Role("admin"))
	r.want("", Bearer(mint(nil)))
}
