package natstest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/pgtest/loopback"
)

const reconnectWait = 20 * time.Millisecond

// Server is one server with JetStream in the test's process.
type Server struct {
	keys
	server *server.Server
	file   string // its configuration
	store  string
	port   int
}

// Start starts a server. Without services anyone may do anything on it; with services it has the permission set that
// ships, and an NKey for each of its users. The test's end stops it.
func Start(t testing.TB, services ...string) *Server {
	t.Helper()
	return startServer(t, "", services)
}

// StartWith is [Start] with more lines of configuration.
func StartWith(t testing.TB, lines string, services ...string) *Server {
	t.Helper()
	return startServer(t, lines, services)
}

func startServer(t testing.TB, lines string, services []string) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{file: filepath.Join(dir, "nats.conf"), store: filepath.Join(dir, "jetstream"), port: loopback.Free(t)}
	s.keys = writeSingle(t, dir, s.file, s.store, s.port, lines, services)
	s.Restart(t)
	t.Cleanup(s.Stop)
	return s
}

// writeSingle writes the configuration of a single server and makes the keys of its users.
func writeSingle(t testing.TB, dir, file, store string, port int, lines string, services []string) (k keys) {
	t.Helper()
	text := `server_name: $TOCSIN_NATS_NAME, listen: $TOCSIN_NATS_CLIENT, jetstream { store_dir: $TOCSIN_NATS_STORE }`
	if len(services) > 0 {
		k = makeKeys(t, dir, services)
		text = withoutCluster(t, shipped(t, services))
	}
	values := map[string]string{
		"$TOCSIN_NATS_NAME":   "single",
		"$TOCSIN_NATS_CLIENT": fmt.Sprintf("%q", fmt.Sprintf("127.0.0.1:%d", port)),
		"$TOCSIN_NATS_STORE":  fmt.Sprintf("%q", store),
	}
	for name, public := range k.env {
		values["$"+name] = public
	}
	if err := os.WriteFile(file, []byte(fill(text, values)+"\n"+lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

// Restart starts a stopped server again, on the same port with the same store; a running one is stopped first.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Stop()
	options, err := server.ProcessConfigFile(s.file)
	if err != nil {
		t.Fatalf("%s: %v", s.file, err)
	}
	options.NoSigs, options.NoLog = true, true
	if s.server, err = server.NewServer(options); err != nil {
		t.Fatal(err)
	}
	s.server.Start()
	if !s.server.ReadyForConnections(machine.Patience) {
		t.Fatal("nats-server isn't ready")
	}
}

// SlowConsumers is how many connections the server has cut off since it started because they didn't read fast enough.
func (s *Server) SlowConsumers() int64 { return s.server.NumSlowConsumers() }

// Unanswered is how many questions to authsvc's account the server remembers.
func (s *Server) Unanswered(t testing.TB) int {
	t.Helper()
	account, err := s.server.LookupAccount("AUTH")
	if err != nil {
		t.Fatal(err)
	}
	return account.NumPendingAllResponses()
}

// Wipe deletes the store of a stopped server.
func (s *Server) Wipe(t testing.TB) {
	t.Helper()
	if err := os.RemoveAll(s.store); err != nil {
		t.Fatal(err)
	}
}

// Stop stops the server; clients see it go. It may be called again.
func (s *Server) Stop() {
	if s.server != nil {
		s.server.Shutdown()
		s.server.WaitForShutdown()
	}
}

// fill puts values in place of variables, so that servers in one process needn't share its environment.
func fill(text string, values map[string]string) string {
	names := slices.SortedFunc(maps.Keys(values), func(a, b string) int { return len(b) - len(a) }) // one may begin another
	var pairs []string
	for _, name := range names {
		pairs = append(pairs, name, values[name])
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// URL returns where clients connect.
func (s *Server) URL() string { return fmt.Sprintf("nats://127.0.0.1:%d", s.port) }

// Connect returns a connection of a user, closed at the test's end. Without permissions any name will do.
func (s *Server) Connect(t testing.TB, user string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	return s.connect(t, s.URL(), user, opts)
}

// closeAndWait closes a connection and returns when its goroutines have gone.
func closeAndWait(nc *nats.Conn) {
	done := nc.StatusChanged(nats.CLOSED)
	if nc.IsClosed() {
		return
	}
	nc.Close()
	<-done
}
