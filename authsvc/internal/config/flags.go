package config

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Commands of the program.
const (
	CommandServe   = "serve"
	CommandMigrate = "migrate"
	CommandVersion = "version"
)

// ErrHelp means that help was asked for and printed: there is nothing to start.
var ErrHelp = errors.New("help was printed")

// Database is what every command that opens the database needs.
type Database struct {
	DataDir     string `name:"data-dir" default:"./data" help:"SQLite file, JetStream store, keys and NATS credentials; created with mode 0700 and locked by one process."`
	DatabaseURL string `name:"database-url" placeholder:"URL" help:"sqlite:PATH or postgres://… (default: sqlite:DATA_DIR/tocsin.db). A URL with a password belongs into the variable or into TOCSIN_DATABASE_URL_FILE."`
	LogLevel    string `name:"log-level" default:"info" enum:"debug,info,warn,error" help:"One of ${enum}."`
	LogFormat   string `name:"log-format" default:"text" enum:"text,json" help:"One of ${enum}."`
}

// Serve is everything that the server needs.
type Serve struct {
	Database

	HTTPAddr string `name:"http-addr" default:"127.0.0.1:8080" help:"Where HTTP is served; port 0 takes a free one."`

	NATSURL        string        `name:"nats-url" placeholder:"URL" help:"NATS to use, a comma list for a cluster; empty: an embedded server with JetStream."`
	NATSListen     string        `name:"nats-listen" default:"127.0.0.1:4222" help:"Where the embedded NATS server listens."`
	NATSCreds      string        `name:"nats-creds" placeholder:"FILE" help:"Credentials (.creds) or NKey seed file for an external NATS."`
	NATSReplyCreds string        `name:"nats-reply-creds" placeholder:"FILE" help:"The same for the connection that answers requests (default: the file of --nats-creds)."`
	StreamReplicas int           `name:"stream-replicas" default:"1" help:"Replicas of the event stream: 1, 3 or 5."`
	StreamMaxAge   time.Duration `name:"stream-max-age" default:"48h" help:"How long the event stream keeps messages."`

	Issuer     string        `name:"issuer" placeholder:"URL" help:"The iss of tokens and the base of every published URL (default: http://HTTP_ADDR)."`
	Audience   string        `name:"audience" default:"tocsin" help:"Default aud of access tokens."`
	SigningAlg string        `name:"signing-alg" default:"EdDSA" enum:"EdDSA,ES256,RS256" help:"Algorithm of new token keys: one of ${enum}."`
	AccessTTL  time.Duration `name:"access-ttl" default:"15m" help:"Life of an access token, in whole seconds."`
	RefreshTTL time.Duration `name:"refresh-ttl" default:"720h" help:"Longest life of a session."`

	RefreshIdle    time.Duration `name:"refresh-idle" default:"168h" help:"How long a session lives without a refresh."`
	PasswordMin    int           `name:"password-min" default:"12" help:"Shortest password accepted, in code points; at least 8."`
	BootstrapAdmin string        `name:"bootstrap-admin" default:"admin" help:"Administrator made when the database has no user."`

	AuditRetention time.Duration `name:"audit-retention" default:"0s" help:"How long entries of the audit log are kept, at least 48h; 0s: for ever."`

	LimitLogins        Limit    `name:"limit-logins" default:"60/10m" help:"Failed logins of one network address (IPv6: one /64): so many at once, and again in each duration; off: no limit."`
	LimitAccountTries  int      `name:"limit-account-tries" default:"10" help:"Failed logins of one account in a row until each further one has to wait, twice as long each time, up to 1h; 0: no limit."`
	LimitRegistrations Limit    `name:"limit-registrations" default:"100/1h" help:"Registrations of one network address; off: no limit."`
	LimitCredentials   Limit    `name:"limit-credentials" default:"300/1m" help:"Refresh tokens and client credentials that aren't good, of one network address, until they are answered with 429; off: never."`
	TrustedProxies     []string `name:"trusted-proxies" placeholder:"NETWORK" help:"Proxies whose X-Forwarded-For is believed, by address or network; none: nobody's."`

	// Proxies are the networks of TrustedProxies.
	Proxies []netip.Prefix `kong:"-"`

	// BootstrapAdminPassword is empty when a random one shall be made.
	BootstrapAdminPassword string `kong:"-"`
	// SecretsKey protects the keys in the database; empty: the one in DATA_DIR/secrets.key.
	SecretsKey string `kong:"-"`
}

type commandLine struct {
	Serve   Serve    `cmd:"" help:"Run the server."`
	Migrate Database `cmd:"" help:"Bring the database's schema up to date, and end."`
	Version struct{} `cmd:"" help:"Print the version."`
}

// Config is a checked configuration. Only the part that Command needs is filled.
type Config struct {
	Command string
	Serve   Serve
	Migrate Database
}

// Help is what --help of the command says beside the flags.
func (Serve) Help() string {
	return `Every flag has a variable of the same name. Secrets have no flag, only a variable, or a file that the variable with the suffix _FILE names:

TOCSIN_BOOTSTRAP_ADMIN_PASSWORD (default: a random one, written once to DATA_DIR/admin-password)

TOCSIN_SECRETS_KEY, which protects the keys in the database (default: the one in DATA_DIR/secrets.key)

TOCSIN_DATABASE_URL, when it holds a password`
}

// Parse reads the arguments after the program's name. Help goes to out. The error is one line that names the bad value,
// or [ErrHelp].
func Parse(args []string, getenv func(string) string, out io.Writer) (*Config, error) {
	var line commandLine
	helped := false
	parser, err := kong.New(&line,
		kong.Name("authsvc"), kong.Description("Authentication with instant revocation."),
		kong.Writers(out, out), kong.Exit(func(int) { helped = true }),
		kong.Resolvers(environment(getenv)), kong.ValueFormatter(withVariable),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		return nil, fmt.Errorf("command line: %w", err)
	}
	parsed, err := parser.Parse(args)
	if helped {
		return nil, ErrHelp
	}
	if err != nil {
		return nil, oneLine(err)
	}
	return complete(parsed.Command(), line, getenv)
}

// complete adds what doesn't come from flags and checks the whole.
func complete(command string, line commandLine, getenv func(string) string) (*Config, error) {
	cfg := &Config{Command: command, Serve: line.Serve, Migrate: line.Migrate}
	switch command {
	case CommandServe:
		if err := cfg.Serve.complete(getenv); err != nil {
			return nil, oneLine(err)
		}
	case CommandMigrate:
		if err := cfg.Migrate.complete(getenv); err != nil {
			return nil, oneLine(err)
		}
	}
	return cfg, nil
}

// variable is the environment's name of a flag.
func variable(flag string) string {
	return "TOCSIN_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// environment resolves flags that the command line doesn't give. The database URL is left to [Database.complete], which
// must know whether it came from the command line.
func environment(getenv func(string) string) kong.ResolverFunc {
	return func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if flag.Name == "help" || flag.Name == "database-url" {
			return nil, nil
		}
		if v := getenv(variable(flag.Name)); v != "" {
			return v, nil
		}
		return nil, nil
	}
}

func withVariable(value *kong.Value) string {
	if value.Name == "help" {
		return value.Help
	}
	return value.Help + " [$" + variable(value.Name) + "]"
}

var flagName = regexp.MustCompile(`^--([a-z-]+)`)

// oneLine names the variable beside the flag, since either may hold the bad value, and keeps the message on one line
// whatever the value holds.
func oneLine(err error) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	text = flagName.ReplaceAllStringFunc(text, func(flag string) string {
		return flag + " (" + variable(flag[2:]) + ")"
	})
	return errors.New(text)
}

func (d *Database) defaultURL() string { return "sqlite:" + filepath.Join(d.DataDir, "tocsin.db") }
