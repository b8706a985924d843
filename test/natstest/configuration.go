package natstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// The users that the permission set has beside the services.
const (
	AuthFeed  = "auth_feed"
	AuthReply = "auth_reply"
	Sys       = "sys"
)

// shippedService is the service whose account block the shipped file has; a test's services get a copy each.
const shippedService = "resourcesvc"

// shipped returns deploy/nats.conf with a copy of its service block for each service, its variables untouched.
func shipped(t testing.TB, services []string) string {
	t.Helper()
	text := readShipped(t, "nats.conf")
	before, rest := cut(t, text, "  # begin service "+shippedService+"\n")
	block, after := cut(t, rest, "  # end service "+shippedService+"\n")
	var blocks strings.Builder
	accounts := make([]string, 0, len(services))
	for _, s := range services {
		upper := strings.ToUpper(s)
		accounts = append(accounts, `"SVC_`+upper+`"`)
		block := strings.ReplaceAll(block, "$TOCSIN_NKEY_"+strings.ToUpper(shippedService), variable(s))
		block = strings.ReplaceAll(block, strings.ToUpper(shippedService), upper)
		blocks.WriteString(strings.ReplaceAll(block, shippedService, s))
	}
	text = before + blocks.String() + after
	list, rest := cut(t, text, `tocsin_services: ["SVC_`+strings.ToUpper(shippedService)+`"]`)
	return list + "tocsin_services: [" + strings.Join(accounts, ", ") + "]" + rest
}

// variable names a user's public key as the shipped file does.
func variable(user string) string {
	return "$TOCSIN_NKEY_" + strings.ToUpper(strings.ReplaceAll(user, "-", "_"))
}

// withoutCluster makes the shipped file one for a single server.
func withoutCluster(t testing.TB, text string) string {
	t.Helper()
	before, rest := cut(t, text, "# begin cluster\n")
	_, after := cut(t, rest, "# end cluster\n")
	return before + after
}

func cut(t testing.TB, text, mark string) (before, after string) {
	t.Helper()
	before, after, found := strings.Cut(text, mark)
	if !found {
		t.Fatalf("deploy/nats.conf has no %q", mark)
	}
	return before, after
}

// readShipped returns a file of the folder deploy.
func readShipped(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		raw, err := os.ReadFile(filepath.Join(dir, "deploy", name))
		if err == nil {
			return string(raw)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatalf("deploy/%s is in no folder above this test", name)
		}
		dir = parent
	}
}

// keys are the NKeys of a server's users; empty for a server without permissions.
type keys struct {
	seeds map[string]string // user → seed file
	env   map[string]string // variable without $ → public key
}

func makeKeys(t testing.TB, dir string, services []string) keys {
	t.Helper()
	k := keys{seeds: map[string]string{}, env: map[string]string{}}
	for _, user := range append([]string{AuthFeed, AuthReply, Sys}, services...) {
		pair, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		seed, err := pair.Seed()
		if err != nil {
			t.Fatal(err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		k.seeds[user] = filepath.Join(dir, user+".nk")
		if err := os.WriteFile(k.seeds[user], seed, 0o600); err != nil {
			t.Fatal(err)
		}
		k.env[strings.TrimPrefix(variable(user), "$")] = public
	}
	return k
}

// SeedFile returns the NKey seed file of a user: AuthFeed, AuthReply, Sys or a service. Empty without permissions.
func (k keys) SeedFile(user string) string { return k.seeds[user] }

// options returns how a user connects: with its key, its inbox prefix and fast reconnects.
func (k keys) options(t testing.TB, user string) []nats.Option {
	t.Helper()
	opts := []nats.Option{
		nats.Name(fmt.Sprintf("%s of %s", user, t.Name())),
		nats.CustomInboxPrefix("_INBOX_" + user),
		nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.ReconnectBufSize(-1),
		nats.IgnoreAuthErrorAbort(), // a server that starts or stops may refuse for a moment
	}
	seed, ok := k.seeds[user]
	switch {
	case ok:
		option, err := nats.NkeyOptionFromSeed(seed)
		if err != nil {
			t.Fatal(err)
		}
		opts = append(opts, option)
	case len(k.seeds) > 0:
		t.Fatalf("natstest: no user %q on this server", user)
	}
	return opts
}

func (k keys) connect(t testing.TB, url, user string, opts []nats.Option) *nats.Conn {
	t.Helper()
	nc := Dial(t, url, append(k.options(t, user), opts...)...)
	t.Cleanup(func() { closeAndWait(nc) })
	return nc
}
