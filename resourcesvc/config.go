package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/exchange"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/queue"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/seal"
)

// config is every setting; kong makes a flag, a variable and a help line of each.
type config struct {
	HTTPAddr      string        `name:"http-addr" env:"TOCSIN_HTTP_ADDR" default:"127.0.0.1:8081" help:"Address to listen on; port 0 takes a free one."`
	DataDir       string        `env:"TOCSIN_DATA_DIR" default:"./data-resource" help:"Directory of the SQLite file, and of the key that seals job grants when $$TOCSIN_GRANTS_KEY or the file that $$TOCSIN_GRANTS_KEY_FILE names has none."`
	DatabaseURL   string        `name:"database-url" placeholder:"URL" help:"sqlite:PATH or postgres://… (default: sqlite:DATA_DIR/resource.db). A URL with a password belongs into $$TOCSIN_DATABASE_URL or the file that $$TOCSIN_DATABASE_URL_FILE names."`
	NATSURL       string        `name:"nats-url" env:"TOCSIN_NATS_URL" default:"nats://127.0.0.1:4222" help:"NATS server or list of servers."`
	NATSCreds     string        `name:"nats-creds" env:"TOCSIN_NATS_CREDS" help:"Credentials or NKey seed file for NATS."`
	Issuer        string        `env:"TOCSIN_ISSUER" default:"http://127.0.0.1:8080" help:"Who issues the tokens; compared as it stands."`
	Audience      string        `env:"TOCSIN_AUDIENCE" default:"tocsin" help:"Audience that tokens must have."`
	Service       string        `env:"TOCSIN_SERVICE" default:"resourcesvc" help:"Name of this service on the bus and in receipts."`
	Instance      string        `env:"TOCSIN_INSTANCE" help:"Name of this process in receipts (default: host-pid-random)."`
	MaxStaleness  time.Duration `env:"TOCSIN_MAX_STALENESS" default:"30s" help:"The bound B: how old knowledge of revocations may be."`
	StalePolicy   string        `env:"TOCSIN_STALE_POLICY" enum:"deny,ask,serve-stale" default:"deny" help:"Beyond B: deny, ask (elite check) or serve-stale (outside the promise)."`
	ServeStaleMax time.Duration `env:"TOCSIN_SERVE_STALE_MAX" default:"15m" help:"With serve-stale: until how long after the last proof."`
	FeedKeysFile  string        `env:"TOCSIN_FEED_KEYS_FILE" help:"Pin the feed keys (a JWK set) instead of fetching them from the issuer."`
	AllowTest     bool          `env:"TOCSIN_ALLOW_TEST" default:"false" help:"Accept test tokens and test keys, and then only those."`
	JobLease      time.Duration `env:"TOCSIN_JOB_LEASE" default:"30s" help:"How long a worker may be silent before its job is another one's."`
	JobTries      int           `env:"TOCSIN_JOB_TRIES" default:"5" help:"How often a job is tried before it has failed."`
	QueueReplicas int           `env:"TOCSIN_QUEUE_REPLICAS" default:"1" help:"Replicas of the job queue's stream: 1, 3 or 5."`

	logging

	// apiKey is the service's own, with which it mints job grants; only $TOCSIN_API_KEY or a file holds it. Empty: jobs carry no
	// grant, and only a user's own worker can do them.
	apiKey string
	// grantsKeys seal job grants; only $TOCSIN_GRANTS_KEY or a file holds them. None: a file in DataDir does.
	grantsKeys seal.Keys
}

// logging is what all commands have.
type logging struct {
	LogFormat string     `env:"TOCSIN_LOG_FORMAT" enum:"text,json" default:"text" help:"text or json."`
	LogLevel  slog.Level `env:"TOCSIN_LOG_LEVEL" default:"INFO" help:"DEBUG, INFO, WARN or ERROR."`
}

// errHelp means that the help was printed and nothing is left to do.
var errHelp = errors.New("help was printed")

// commands are those of the program, with the settings of each.
type commands struct {
	Serve   config       `cmd:"" help:"Serve the API."`
	Worker  workerConfig `cmd:"" help:"Do queued jobs: of all users with a key of the role worker, else those of the key's user."`
	Version struct{}     `cmd:"" help:"Print the version."`
}

// parse reads the command line and the environment. Its errors name what is wrong, in one line.
func parse(args []string, stdout io.Writer) (command string, c commands, err error) {
	helped := false
	parser, err := kong.New(&c, kong.Name("resourcesvc"), kong.Writers(stdout, io.Discard),
		kong.Description("Tocsin's reference service: cars and AI jobs. Each flag can be given by the variable beside it."),
		kong.Exit(func(int) { helped = true }))
	if err != nil {
		return "", c, err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	switch {
	case helped:
		return "", c, errHelp
	case err != nil:
		return "", c, withVariable(err)
	}
	switch parsed.Command() {
	case "serve":
		err = c.Serve.complete()
	case "worker":
		err = c.Worker.complete()
	}
	return parsed.Command(), c, err
}

var flagName = regexp.MustCompile(`^--([a-z-]+)`)

// withVariable names the variable beside the flag, since either may hold the bad value, in one line.
func withVariable(err error) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	return errors.New(flagName.ReplaceAllStringFunc(text, func(flag string) string {
		return flag + " (TOCSIN_" + strings.ToUpper(strings.ReplaceAll(flag[2:], "-", "_")) + ")"
	}))
}

// complete fills in what is secret and the database URL, and checks what kong can't.
func (c *config) complete() (err error) {
	if c.apiKey, err = secret("TOCSIN_API_KEY"); err != nil {
		return err
	}
	if err := c.readGrantsKeys(); err != nil {
		return err
	}
	if u, err := url.Parse(c.DatabaseURL); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			return errors.New("--database-url holds a password, which belongs into TOCSIN_DATABASE_URL")
		}
	}
	if c.DatabaseURL == "" {
		if c.DatabaseURL, err = secret("TOCSIN_DATABASE_URL"); err != nil {
			return err
		}
	}
	if c.DatabaseURL == "" {
		c.DatabaseURL = "sqlite:" + filepath.Join(c.DataDir, "resource.db")
	}
	scheme, rest, _ := strings.Cut(c.DatabaseURL, ":")
	switch {
	case rest == "" || !slices.Contains([]string{"sqlite", "postgres", "postgresql"}, scheme):
		return errors.New("--database-url (TOCSIN_DATABASE_URL) must be sqlite:PATH or postgres://…")
	case !isAddress(c.HTTPAddr):
		return errors.New("--http-addr (TOCSIN_HTTP_ADDR) must be HOST:PORT")
	case !events.ValidService(c.Service):
		return errors.New("--service (TOCSIN_SERVICE) must match [a-z0-9_-]{1,32}")
	case c.MaxStaleness < events.MinBound || c.MaxStaleness > events.MaxBound:
		return fmt.Errorf("--max-staleness (TOCSIN_MAX_STALENESS) must be from %v to %v", events.MinBound, events.MaxBound)
	case c.ServeStaleMax <= 0:
		return errors.New("--serve-stale-max (TOCSIN_SERVE_STALE_MAX) must be above 0")
	case c.JobLease < time.Second || c.JobLease > time.Hour:
		return errors.New("--job-lease (TOCSIN_JOB_LEASE) must be from 1s to 1h")
	case c.JobTries < 1 || c.JobTries > 100:
		return errors.New("--job-tries (TOCSIN_JOB_TRIES) must be from 1 to 100")
	case !slices.Contains([]int{1, 3, 5}, c.QueueReplicas):
		return errors.New("--queue-replicas (TOCSIN_QUEUE_REPLICAS) must be 1, 3 or 5")
	case c.apiKey != "" && !isHeaderValue(c.apiKey):
		return errors.New("TOCSIN_API_KEY is no API key")
	}
	return nil
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

func (c config) jobRules() jobRules { return jobRules{Lease: c.JobLease, Tries: c.JobTries} }

// exchange mints grants under the service's own key.
func (c config) exchange() *exchange.Client {
	return &exchange.Client{Issuer: c.Issuer, Key: c.apiKey, HTTP: exchange.NewHTTP()}
}

func (c config) connectQueue(log *slog.Logger) (*nats.Conn, error) {
	return queue.Connect(queue.Options{URL: c.NATSURL, Creds: c.NATSCreds, Service: c.Service, Name: c.Service + " jobs", Log: log})
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

// isHeaderValue reports whether a secret can be sent: a file with two keys can't.
func isHeaderValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// secret reads a variable that may hold a secret, or the file that the variable with _FILE names.
func secret(name string) (string, error) {
	path := os.Getenv(name + "_FILE")
	switch value := os.Getenv(name); {
	case value != "" && path != "":
		return "", fmt.Errorf("%s and %s_FILE are both given: one of them must go", name, name)
	case path == "":
		return value, nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", name, err)
	}
	return strings.TrimSpace(string(content)), nil
}

// makeDataDir makes the directory for what isn't configured to be elsewhere.
func (c config) makeDataDir() error {
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("data-dir: %w", err)
	}
	return nil
}

func (c logging) logger(stderr io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(stderr, opts))
	}
	return slog.New(slog.NewTextHandler(stderr, opts))
}
