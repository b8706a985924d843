package natstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/pgtest/loopback"
)

// Leaf is a leaf node in the test's process, with the configuration that ships, for one service.
type Leaf struct {
	server *server.Server
	port   int
}

// StartHub starts a server as [Start] does which takes leaf nodes, and returns where.
func StartHub(t testing.TB, services ...string) (hub *Server, leaves string) {
	t.Helper()
	leaves = fmt.Sprintf("127.0.0.1:%d", loopback.Free(t))
	return StartWith(t, fmt.Sprintf("leafnodes { listen: %q }\n", leaves), services...), leaves
}

// StartLeaf starts a leaf node that joins a hub by an address of its own, which may be a proxy's, with the key of a service.
// lawless takes the permissions out of the leaf node's own configuration, as who has taken it over can. It returns when the
// hub has taken it; the test's end stops it.
func StartLeaf(t testing.TB, hub *Server, address, service string, lawless bool) *Leaf {
	t.Helper()
	upper := strings.ToUpper(service)
	text := readShipped(t, "nats-leaf.conf")
	if lawless {
		before, rest := cut(t, text, ", permissions: {")
		_, after := cut(t, rest, "} } }")
		text = before + " }" + after
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "RESOURCESVC", upper), "resourcesvc", service)
	seed, err := os.ReadFile(hub.SeedFile(service))
	if err != nil {
		t.Fatal(err)
	}
	l := &Leaf{port: loopback.Free(t)}
	text = fill(text, map[string]string{
		"$TOCSIN_NATS_NAME": "leaf", "$TOCSIN_NATS_CLIENT": fmt.Sprintf("%q", fmt.Sprintf("127.0.0.1:%d", l.port)),
		"$TOCSIN_NATS_HUB":           fmt.Sprintf("[%q]", "nats-leaf://"+address),
		"$TOCSIN_NKEY_" + upper:      hub.env["TOCSIN_NKEY_"+upper],
		"$TOCSIN_NKEY_SEED_" + upper: string(seed),
	})
	file := filepath.Join(t.TempDir(), "leaf.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l.start(t, file)
	machine.Await(t, "the leaf node at its hub", func() bool { return l.server.NumLeafNodes() > 0 })
	return l
}

func (l *Leaf) start(t testing.TB, file string) {
	t.Helper()
	options, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	options.NoSigs, options.NoLog = true, true
	if l.server, err = server.NewServer(options); err != nil {
		t.Fatal(err)
	}
	l.server.Start()
	t.Cleanup(func() { l.server.Shutdown(); l.server.WaitForShutdown() })
	if !l.server.ReadyForConnections(machine.Patience) {
		t.Fatal("the leaf node isn't ready")
	}
}

// Connect returns a connection of a user of the hub to the leaf node, closed at the test's end.
func (l *Leaf) Connect(t testing.TB, hub *Server, user string) *nats.Conn {
	t.Helper()
	return hub.connect(t, l.URL(), user, nil)
}

// URL returns where clients connect.
func (l *Leaf) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", l.port) }

// ToLeaves is how many messages the server has sent to its leaf nodes.
func (s *Server) ToLeaves(t testing.TB) (n int64) {
	t.Helper()
	z, err := s.server.Leafz(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range z.Leafs {
		n += l.OutMsgs
	}
	return n
}
