package verifier

import (
	"errors"
	"slices"
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
		"issuer with a slash":   {change: func(c *Config) { c.Issuer = testIssuer + "/" }, names: "issuer"},
		"blank audience":        {change: func(c *Config) { c.Audience = " " }, names: "audience"},
		"NATS URL in words":     {change: func(c *Config) { c.NATSURL = "not a url" }, names: "NATS"},
		"one bad NATS URL":      {change: func(c *Config) { c.NATSURL = "nats://a:4222,nats://" }, names: "NATS"},
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

func TestNATSURLsThatAreGood(t *testing.T) {
	for _, list := range []string{"nats://a:4222", "a", "127.0.0.1:4222", "nats://a:4222, tls://b", "nats://a:4222,", "a, ,b", "wss://c/path", "nats://user:secret@d:1,nats://[::1]:4222"} {
		cfg := goodConfig()
		cfg.NATSURL = list
		if _, err := newSettings(cfg, nil); err != nil {
			t.Errorf("%s: %v", list, err)
		}
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
		route, err := r.Route(opt)
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		// Who goes on with it all the same accepts nobody.
		if p, err := r.Verify(t.Context(), Bearer(mint(nil)), route); !errors.Is(err, ErrStale) {
			t.Errorf("%s: %v %v", name, p, err)
		}
		if _, _, err := r.Live(t.Context(), Bearer(mint(nil)), route); !errors.Is(err, ErrStale) {
			t.Errorf("%s: a long answer: %v", name, err)
		}
	}
}

// The principal MUST NOT be changed; the likeliest way to do it all the same changes a copy.
func TestRolesAppendedToAPrincipalAreNobodyElses(t *testing.T) {
	r := newRig(t)
	r.serve(newAuth())
	for _, c := range []Credential{Bearer(mint(claims{"roles": []string{"a", "b", "user"}})), newKey(ModeLive)} {
		p := r.want("", c)
		_ = append(p.Roles, "admin")
		again := r.want("", c)
		if got := again.Roles[:cap(again.Roles)]; slices.Contains(got, "admin") {
			t.Errorf("%v", got)
		}
	}
}

func TestRoutesOfOneVerifierDoNotShareRequirements(t *testing.T) {
	r := newRig(t)
	r.route(Elite(), Role("admin"))
	r.want("", Bearer(mint(nil)))
}
