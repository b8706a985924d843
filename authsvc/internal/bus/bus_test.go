package bus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/pgtest/loopback"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within is for what hangs, not for what is slow.
const within = time.Minute

func start(t *testing.T, cfg Config, services ...Service) *Bus {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	b, err := Start(t.Context(), cfg, services)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, b) })
	return b
}

func stop(t *testing.T, b *Bus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

func embeddedConfig(t *testing.T) Config {
	return Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Patience: time.Hour}
}

// join connects as a service does, and reports when the server ends the connection.
func join(t *testing.T, b *Bus, dataDir, service string) (nc *nats.Conn, lost chan error, err error) {
	t.Helper()
	option, err := nats.NkeyOptionFromSeed(SeedFile(dataDir, service))
	if err != nil {
		t.Fatal(err)
	}
	lost, closed := make(chan error, 4), make(chan struct{})
	nc, err = nats.Connect(b.URL(), option, nats.CustomInboxPrefix("_INBOX_"+service), nats.NoReconnect(), nats.Timeout(within),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { lost <- err }),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err == nil {
		t.Cleanup(func() { nc.Close(); <-closed })
	}
	return nc, lost, err
}

func local(t *testing.T, dataDir, name string) Service {
	t.Helper()
	s, err := LocalService(dataDir, name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEmbeddedServerAdmitsServicesOfItsTable(t *testing.T) {
	cfg := embeddedConfig(t)
	b := start(t, cfg, local(t, cfg.DataDir, "resourcesvc"))
	if !b.Embedded() || strings.HasSuffix(b.URL(), ":0") {
		t.Fatalf("URL %q", b.URL())
	}
	nc, _, err := join(t, b, cfg.DataDir, "resourcesvc")
	if err != nil {
		t.Fatal(err)
	}
	sub, err := b.Reply().QueueSubscribe("tocsin.v1.keys.*", events.QueueGroup, func(m *nats.Msg) { m.Respond(m.Data) })
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	if err := b.Reply().Flush(); err != nil {
		t.Fatal(err)
	}
	if m, err := nc.Request(events.KeysSubject("resourcesvc"), []byte("?"), within); err != nil || string(m.Data) != "?" {
		t.Errorf("question: %v, %v", m, err)
	}
}

func TestSyncLetsServicesInAndOutWithoutDisturbingOthers(t *testing.T) {
	cfg := embeddedConfig(t)
	cars, jobs := local(t, cfg.DataDir, "cars"), local(t, cfg.DataDir, "jobs")
	b := start(t, cfg, cars)
	first, lostFirst, err := join(t, b, cfg.DataDir, "cars")
	if err != nil {
		t.Fatal(err)
	}
	live, err := first.SubscribeSync(events.LiveSubjects)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := join(t, b, cfg.DataDir, "jobs"); !errors.Is(err, nats.ErrAuthorization) {
		t.Fatalf("an unknown service: %v", err)
	}

	resync(t, b, cars, jobs)
	second, lostSecond, err := join(t, b, cfg.DataDir, "jobs")
	if err != nil {
		t.Fatal(err)
	}
	expectLive(t, b, live)

	resync(t, b, cars)
	select {
	case <-lostSecond:
	case <-time.After(within):
		t.Error("a removed service stayed connected")
	}
	expectLive(t, b, live)
	if _, _, err := join(t, b, cfg.DataDir, "jobs"); err == nil {
		t.Error("a removed service came in again")
	}
	select {
	case err := <-lostFirst:
		t.Errorf("a service that stayed lost its connection: %v", err)
	default:
	}
	if n := b.Feed().Stats().Reconnects + b.Reply().Stats().Reconnects; n != 0 || second.IsConnected() {
		t.Errorf("authsvc reconnected %d times", n)
	}
}

func resync(t *testing.T, b *Bus, services ...Service) {
	t.Helper()
	if err := b.Sync(t.Context(), services); err != nil {
		t.Fatal(err)
	}
}

func expectLive(t *testing.T, b *Bus, sub *nats.Subscription) {
	t.Helper()
	if err := b.Feed().Publish(events.LiveSubject(events.TypeKeysChanged), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := sub.NextMsg(within); err != nil {
		t.Errorf("live message after a reload: %v", err)
	}
}

func TestSyncRefusesBadServicesAndGoesOn(t *testing.T) {
	cfg := embeddedConfig(t)
	cars := local(t, cfg.DataDir, "cars")
	b := start(t, cfg, cars)
	if err := b.Sync(t.Context(), []Service{cars, {Name: "jobs", NKey: "x"}}); err == nil {
		t.Fatal("a bad NKey was accepted")
	}
	if err := b.Sync(t.Context(), []Service{cars, {Name: "twin", NKey: cars.NKey}}); err == nil {
		t.Fatal("one NKey for two services was accepted")
	}
	if _, _, err := join(t, b, cfg.DataDir, "cars"); err != nil {
		t.Error(err)
	}
	resync(t, b, cars)
}

func TestRestartKeepsKeysAndStream(t *testing.T) {
	cfg := embeddedConfig(t)
	cfg.Log = slog.New(slog.DiscardHandler)
	services := []Service{local(t, cfg.DataDir, "cars")}
	for i := range 2 {
		b, err := Start(t.Context(), cfg, services)
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(b.Feed())
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: events.StreamName, Subjects: []string{events.StreamSubjects}})
			if err != nil {
				t.Fatal(err)
			}
		}
		ack, err := js.Publish(t.Context(), events.FeedSubject(events.TypeKeysChanged), []byte("x"))
		if err != nil || ack.Sequence != uint64(i+1) {
			t.Fatalf("start %d: %v, %v", i+1, ack, err)
		}
		if _, _, err := join(t, b, cfg.DataDir, "cars"); err != nil {
			t.Error(err)
		}
		stop(t, b)
	}
}

func TestSecretsOfTheDataDirectoryArePrivate(t *testing.T) {
	cfg := embeddedConfig(t)
	start(t, cfg, local(t, cfg.DataDir, "cars"))
	for _, name := range []string{"nats.conf", seedFeed + ".nk", seedReply + ".nk", "cars.nk"} {
		info, err := os.Stat(filepath.Join(cfg.DataDir, "nats", name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(cfg.DataDir, "nats"))
	if err != nil || len(entries) != 5 { // and the stream's folder
		t.Errorf("left over: %v, %v", entries, err)
	}
}

func TestBadStartsSayWhyInOneLine(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	notASeed := filepath.Join(t.TempDir(), "x.nk")
	if err := os.WriteFile(notASeed, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := busy.Addr().String()
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"busy port":         {Config{Listen: address}, "NATS listen address " + address + " is in use by another program"},
		"not an address":    {Config{Listen: "4222"}, `NATS listen address "4222": want host:port`},
		"not a port":        {Config{Listen: "127.0.0.1:nats"}, `NATS listen address "127.0.0.1:nats": want a port from 0 to 65535`},
		"not a NATS URL":    {Config{URL: "nats://a b"}, "NATS: "},
		"no credentials":    {Config{URL: "nats://127.0.0.1:1", Creds: filepath.Join(t.TempDir(), "none")}, "NATS credentials: "},
		"strange file":      {Config{URL: "nats://127.0.0.1:1", Creds: notASeed}, "NATS credentials " + notASeed + ": neither"},
		"bad seed in store": {Config{Listen: "127.0.0.1:0", DataDir: dirWithBadSeed(t)}, "NKey seed "},
	} {
		if c.cfg.DataDir == "" {
			c.cfg.DataDir = t.TempDir()
		}
		c.cfg.Log = slog.New(slog.DiscardHandler)
		b, err := Start(t.Context(), c.cfg, nil)
		if err == nil {
			stop(t, b)
			t.Errorf("%s: started", name)
			continue
		}
		if !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q", name, err)
		}
	}
}

func dirWithBadSeed(t *testing.T) string {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "nats"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "nats", seedFeed+".nk"), []byte("SUA"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestExternalServerMayBeAwayAtStart(t *testing.T) {
	address := fmt.Sprintf("127.0.0.1:%d", loopback.Free(t))
	b := start(t, Config{URL: "nats://" + address})
	if err := b.Feed().Publish("x", nil); err == nil {
		t.Error("publishing succeeded without a server")
	}
	if err := b.Sync(t.Context(), nil); err != nil {
		t.Errorf("Sync: %v", err)
	}
	connected := b.Feed().StatusChanged(nats.CONNECTED)

	server := start(t, Config{DataDir: t.TempDir(), Listen: address}) // it refuses us, and we don't give up
	if err := server.Sync(t.Context(), []Service{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-connected:
		t.Error("connected without a key")
	case <-time.After(2 * (reconnectWait + reconnectJitter)):
	}
	if b.Feed().IsClosed() {
		t.Error("gave up")
	}
}

func TestExternalServerWithKeys(t *testing.T) {
	server := embeddedConfig(t)
	s := start(t, server)
	b := start(t, Config{URL: s.URL(), Creds: SeedFile(server.DataDir, seedFeed), ReplyCreds: SeedFile(server.DataDir, seedReply)})
	if b.Embedded() || b.URL() != s.URL() {
		t.Errorf("URL %q, want %q", b.URL(), s.URL())
	}
	for _, nc := range []*nats.Conn{b.Feed(), b.Reply()} {
		if err := nc.FlushTimeout(within); err != nil {
			t.Error(err)
		}
	}
}

func TestANewMemberIsAdmittedWithItsSeedOnDisk(t *testing.T) {
	cfg := embeddedConfig(t)
	b := start(t, cfg)
	nkey, _, err := b.NewMember("cars")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(SeedFile(cfg.DataDir, "cars")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the seed was written before the service was admitted")
	}
	if block, err := b.Configuration("cars", nkey); err != nil || block != "" {
		t.Errorf("nothing is to be done by hand, but %q, %v", block, err)
	}
	if _, _, err := b.NewMember("cars"); err != nil { // another call, which will find the name taken
		t.Fatal(err)
	}
	resync(t, b, Service{Name: "cars", NKey: nkey})
	if _, _, err := join(t, b, cfg.DataDir, "cars"); err != nil {
		t.Error(err)
	}
	for range 2 * maxNewcomers {
		if _, _, err := b.NewMember("never"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.newcomers.seeds); n != maxNewcomers {
		t.Errorf("%d seeds are kept, want %d", n, maxNewcomers)
	}
}

func TestNamesThatAreNoServiceAreRefused(t *testing.T) {
	dir := t.TempDir()
	b := start(t, embeddedConfig(t))
	for _, name := range []string{"", "../x", "a/b", "Cars", seedFeed, "a\r\nb", "*", ">"} {
		if _, _, err := b.NewMember(name); err == nil {
			t.Errorf("NewMember(%q) was not refused", name)
		}
		if _, err := LocalService(dir, name); err == nil {
			t.Errorf("LocalService(%q) was not refused", name)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("files of refused names: %v, %v", left, err)
	}
}

func TestPrintedBlockLoads(t *testing.T) {
	cfg := embeddedConfig(t)
	s := local(t, cfg.DataDir, "cars-eu_2")
	block, err := AccountBlock(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"SVC_CARS-EU_2"`, s.NKey, fmt.Sprintf("%q", events.CheckSubject("cars-eu_2"))} {
		if !strings.Contains(block, want) {
			t.Errorf("no %s in\n%s", want, block)
		}
	}
	b := start(t, cfg, s)
	if !strings.Contains(b.embedded.text, strings.SplitN(block, "\n", 3)[2]) {
		t.Error("the printed block is not what the embedded server runs")
	}
}
