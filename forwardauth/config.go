package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/identity"
	"github.com/tocsin-auth/tocsin/forwardauth/internal/routes"
	"github.com/tocsin-auth/tocsin/forwardauth/internal/style"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// config is every setting; kong makes a flag, a variable and a help line of each.
type config struct {
	HTTPAddr        string        `name:"http-addr" env:"TOCSIN_HTTP_ADDR" default:"127.0.0.1:8082" help:"Address to listen on; port 0 takes a free one."`
	GRPCAddr        string        `name:"grpc-addr" env:"TOCSIN_GRPC_ADDR" default:"127.0.0.1:8083" help:"With proxy envoy: address for ext_authz."`
	Proxy           string        `env:"TOCSIN_PROXY" required:"" placeholder:"NAME" help:"Which proxy asks: nginx, haproxy, caddy, traefik or envoy. Never guessed."`
	ProxyAddrs      []string      `name:"proxy-addrs" env:"TOCSIN_PROXY_ADDRS" default:"127.0.0.0/8,::1" help:"Networks and addresses that may ask."`
	Routes          string        `env:"TOCSIN_ROUTES" required:"" placeholder:"FILE" help:"The YAML file of routes."`
	IdentityIssuer  string        `env:"TOCSIN_IDENTITY_ISSUER" default:"tocsin-forwardauth" help:"iss of the identity tokens that backends get."`
	IdentityLife    time.Duration `env:"TOCSIN_IDENTITY_LIFE" default:"30s" help:"How long one lives, from 1s to 30s."`
	IdentityKeyFile string        `env:"TOCSIN_IDENTITY_KEY_FILE" help:"Its Ed25519 key, PKCS #8 in PEM (default: a fresh one at each start)."`
	NATSURL         string        `name:"nats-url" env:"TOCSIN_NATS_URL" default:"nats://127.0.0.1:4222" help:"NATS server or list of servers."`
	NATSCreds       string        `name:"nats-creds" env:"TOCSIN_NATS_CREDS" help:"Credentials or NKey seed file for NATS."`
	Issuer          string        `env:"TOCSIN_ISSUER" default:"http://127.0.0.1:8080" help:"Who issues the tokens; compared as it stands."`
	Audience        string        `env:"TOCSIN_AUDIENCE" default:"tocsin" help:"Audience that tokens must have."`
	Service         string        `env:"TOCSIN_SERVICE" default:"forwardauth" help:"Name of this service on the bus and in receipts."`
	Instance        string        `env:"TOCSIN_INSTANCE" help:"Name of this process in receipts (default: host-pid-random)."`
	MaxStaleness    time.Duration `env:"TOCSIN_MAX_STALENESS" default:"30s" help:"The bound B: how old knowledge of revocations may be."`
	StalePolicy     string        `env:"TOCSIN_STALE_POLICY" enum:"deny,ask,serve-stale" default:"deny" help:"Beyond B: deny, ask (elite check) or serve-stale (outside the promise)."`
	ServeStaleMax   time.Duration `env:"TOCSIN_SERVE_STALE_MAX" default:"15m" help:"With serve-stale: until how long after the last proof."`
	FeedKeysFile    string        `env:"TOCSIN_FEED_KEYS_FILE" help:"Pin the feed keys (a JWK set) instead of fetching them from the issuer."`
	AllowTest       bool          `env:"TOCSIN_ALLOW_TEST" default:"false" help:"Accept test tokens and test keys, and then only those."`
	LogFormat       string        `env:"TOCSIN_LOG_FORMAT" enum:"text,json" default:"text" help:"text or json."`
	LogLevel        slog.Level    `env:"TOCSIN_LOG_LEVEL" default:"INFO" help:"DEBUG, INFO, WARN or ERROR."`

	style   style.Style
	proxies []netip.Prefix
	table   *routes.Table
	key     ed25519.PrivateKey
}

// errHelp means that the help was printed and nothing is left to do.
var errHelp = errors.New("help was printed")

// parse reads the command line and the environment. Its errors name what is wrong, in one line.
func parse(args []string, stdout io.Writer) (command string, cfg config, err error) {
	var commands struct {
		Serve   config   `cmd:"" help:"Answer a proxy."`
		Version struct{} `cmd:"" help:"Print the version."`
	}
	helped := false
	parser, err := kong.New(&commands, kong.Name("forwardauth"), kong.Writers(stdout, io.Discard),
		kong.Description("Tocsin's verifier beside a proxy, for services in any language. Each flag can be given by the variable beside it."),
		kong.Exit(func(int) { helped = true }))
	if err != nil {
		return "", config{}, err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	switch {
	case helped:
		return "", config{}, errHelp
	case err != nil:
		return "", config{}, withVariable(err)
	}
	cfg = commands.Serve
	if parsed.Command() == "serve" {
		err = cfg.complete()
	}
	return parsed.Command(), cfg, err
}

var flagName = regexp.MustCompile(`^--([a-z-]+)`)

// withVariable names the variable beside the flag, since either may hold the bad value, in one line.
func withVariable(err error) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	return errors.New(flagName.ReplaceAllStringFunc(text, func(flag string) string {
		return flag + " (TOCSIN_" + strings.ToUpper(strings.ReplaceAll(flag[2:], "-", "_")) + ")"
	}))
}

// complete checks what kong can't, and reads the files.
func (c *config) complete() error {
	var known bool
	if c.style, known = style.Named(c.Proxy); !known {
		return errors.New("--proxy (TOCSIN_PROXY) must be nginx, haproxy, caddy, traefik or envoy")
	}
	if c.proxies, known = parsePrefixes(c.ProxyAddrs); !known {
		return errors.New("--proxy-addrs (TOCSIN_PROXY_ADDRS) must be networks and addresses, separated by commas")
	}
	switch {
	case !isAddress(c.HTTPAddr):
		return errors.New("--http-addr (TOCSIN_HTTP_ADDR) must be HOST:PORT")
	case !isAddress(c.GRPCAddr):
		return errors.New("--grpc-addr (TOCSIN_GRPC_ADDR) must be HOST:PORT")
	case !events.ValidService(c.Service):
		return errors.New("--service (TOCSIN_SERVICE) must match [a-z0-9_-]{1,32}")
	case c.MaxStaleness < events.MinBound || c.MaxStaleness > events.MaxBound:
		return fmt.Errorf("--max-staleness (TOCSIN_MAX_STALENESS) must be from %v to %v", events.MinBound, events.MaxBound)
	case c.ServeStaleMax <= 0:
		return errors.New("--serve-stale-max (TOCSIN_SERVE_STALE_MAX) must be above 0")
	case c.IdentityLife < time.Second || c.IdentityLife > identity.MaxLife:
		return fmt.Errorf("--identity-life (TOCSIN_IDENTITY_LIFE) must be from 1s to %v", identity.MaxLife)
	case c.IdentityIssuer == "" || c.IdentityIssuer == c.Issuer:
		return errors.New("--identity-issuer (TOCSIN_IDENTITY_ISSUER) must not be empty, nor authsvc's")
	}
	return c.readFiles()
}

func (c *config) readFiles() error {
	file, err := os.ReadFile(c.Routes)
	if err != nil {
		return fmt.Errorf("--routes (TOCSIN_ROUTES): %w", err)
	}
	if c.table, err = routes.Load(file); err != nil {
		return fmt.Errorf("--routes (TOCSIN_ROUTES): %s: %w", c.Routes, err)
	}
	if c.IdentityKeyFile == "" {
		c.key = identity.NewKey()
		return nil
	}
	if c.key, err = identity.LoadKey(c.IdentityKeyFile); err != nil {
		return fmt.Errorf("--identity-key-file (TOCSIN_IDENTITY_KEY_FILE): %w", err)
	}
	return nil
}

// parsePrefixes reads a list of networks and addresses.
func parsePrefixes(list []string) (all []netip.Prefix, ok bool) {
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); err != nil && addrErr == nil {
			p, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return nil, false
		}
		all = append(all, p.Masked())
	}
	return all, true
}

func (c config) verifier() verifier.Config {
	return verifier.Config{Issuer: c.Issuer, Audience: c.Audience, Service: c.Service, NATSURL: c.NATSURL}
}

func (c config) verifierOptions(log *slog.Logger) []verifier.Option {
	opts := []verifier.Option{
		verifier.WithLogger(log),
		verifier.WithMaxStaleness(c.MaxStaleness),
		verifier.WithStalePolicy(c.stalePolicy()),
	}
	if c.AllowTest {
		opts = append(opts, verifier.WithAllowTest())
	}
	if c.Instance != "" {
		opts = append(opts, verifier.WithInstance(c.Instance))
	}
	if c.NATSCreds != "" {
		opts = append(opts, verifier.WithNATSCredentials(c.NATSCreds))
	}
	if c.FeedKeysFile != "" {
		opts = append(opts, verifier.WithFeedKeysFile(c.FeedKeysFile))
	}
	return opts
}

func (c config) stalePolicy() verifier.StalePolicy {
	switch c.StalePolicy {
	case "ask":
		return verifier.Ask
	case "serve-stale":
		return verifier.ServeStale(c.ServeStaleMax)
	default:
		return verifier.Deny
	}
}

func isAddress(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

func (c config) logger(stderr io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(stderr, opts))
	}
	return slog.New(slog.NewTextHandler(stderr, opts))
}
