package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// embedded is a nats-server in this process. Its configuration is the file DATA_DIR/nats/nats.conf (0600), made from the
// services table; its store is DATA_DIR/nats/jetstream. The lock on the data directory keeps a second server off it.
type embedded struct {
	server *server.Server
	dir    string // DATA_DIR/nats
	set    permissions
	text   string // what the server runs with
}

// startTimeout is generous: the server replays its store before it listens.
const startTimeout = 30 * time.Second

func newEmbedded(ctx context.Context, cfg Config, services []Service) (*embedded, error) {
	dir, err := natsDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	e := &embedded{dir: dir}
	if e.set, err = embeddedSet(dir, cfg.Listen); err != nil {
		return nil, err
	}
	e.set.Patience = cfg.Patience
	if e.text, err = e.configuration(services); err != nil {
		return nil, err
	}
	if err := writeFile(e.file(), e.text); err != nil {
		return nil, err
	}
	return e, e.start(ctx, cfg)
}

// embeddedSet makes what doesn't depend on the services, generating authsvc's own NKeys at the first start.
func embeddedSet(dir, listen string) (permissions, error) {
	set := permissions{StoreDir: filepath.Join(dir, "jetstream")}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return set, fmt.Errorf("NATS listen address %q: want host:port", listen)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return set, fmt.Errorf("NATS listen address %q: want a port from 0 to 65535", listen)
	} else if n == 0 {
		port = "-1" // nats-server's word for a free one; 0 would be its default
	}
	set.Listen = net.JoinHostPort(host, port)
	if set.AuthFeed, err = ensureSeed(seedPath(dir, seedFeed)); err != nil {
		return set, err
	}
	set.AuthReply, err = ensureSeed(seedPath(dir, seedReply))
	return set, err
}

func (e *embedded) file() string { return filepath.Join(e.dir, "nats.conf") }

func (e *embedded) configuration(services []Service) (string, error) {
	set := e.set
	var err error
	if set.Services, err = entries(services); err != nil {
		return "", err
	}
	return render("embedded", set)
}

func (e *embedded) start(ctx context.Context, cfg Config) error {
	if err := probeListen(ctx, cfg.Listen); err != nil {
		return err
	}
	options, err := server.ProcessConfigFile(e.file())
	if err != nil {
		return fmt.Errorf("embedded NATS: %w", err)
	}
	options.NoSigs = true // signals are the program's, not the library's
	if e.server, err = server.NewServer(options); err != nil {
		return fmt.Errorf("embedded NATS: %w", err)
	}
	log := &serverLog{log: cfg.Log.With("part", "nats"), fatal: make(chan error, 1)}
	e.server.SetLoggerV2(log, false, false, false)
	started := make(chan struct{})
	go func() {
		defer close(started)
		e.server.Start()
	}()
	if err := e.ready(ctx, log.fatal, started); err != nil {
		e.stop()
		<-started
		return fmt.Errorf("embedded NATS: %w", err)
	}
	return nil
}

// ready waits until the server accepts clients. Start returns then, or after it reported a fatal error.
func (e *embedded) ready(ctx context.Context, fatal <-chan error, started <-chan struct{}) error {
	limit := time.NewTimer(startTimeout)
	defer limit.Stop()
	select {
	case <-started:
	case <-limit.C:
		return errors.New("not ready in time")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-fatal:
		return err
	default:
	}
	if e.server.Addr() == nil {
		return errors.New("not listening")
	}
	return nil
}

// probeListen gives a busy or foreign address its one clear line before the server is started.
func probeListen(ctx context.Context, address string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("NATS listen address %s is in use by another program", address)
	case err != nil:
		return fmt.Errorf("NATS listen address: %w", err)
	}
	return l.Close()
}

// url returns where this machine's clients connect.
func (e *embedded) url() string {
	address := e.server.Addr().(*net.TCPAddr)
	host := address.IP
	if host.IsUnspecified() {
		host = net.IPv4(127, 0, 0, 1)
	}
	return "nats://" + net.JoinHostPort(host.String(), strconv.Itoa(address.Port))
}

// sync rewrites the configuration and reloads it when the services changed. It does so twice: nats-server 2.15 makes the
// subscriptions behind an account's service imports when it starts, and for accounts that a reload finds, but not for those
// that it adds. A service that joined would be let in, and nobody would answer it.
func (e *embedded) sync(services []Service) error {
	text, err := e.configuration(services)
	if err != nil || text == e.text {
		return err
	}
	if err := writeFile(e.file(), text); err != nil {
		return err
	}
	for range 2 {
		if err := e.server.Reload(); err != nil {
			return fmt.Errorf("reload embedded NATS: %w", err)
		}
	}
	e.text = text
	return nil
}

func (e *embedded) stop() {
	if e.server == nil {
		return
	}
	e.server.Shutdown()
	e.server.WaitForShutdown()
}

// serverLog passes the server's own log on. Its notices are details here; a fatal error ends the start, not the process.
type serverLog struct {
	log     *slog.Logger
	fatal   chan error
	repeats repeats
}

// tell logs what hasn't just been said.
func (l *serverLog) tell(level slog.Level, message string) {
	untold, ok := l.repeats.pass(message, time.Now())
	if !ok {
		return
	}
	log := l.log
	if untold > 0 {
		log = log.With("more_like_it", untold)
	}
	log.Log(context.Background(), level, message)
}

func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Warnf(format string, v ...any)   { l.tell(slog.LevelWarn, fmt.Sprintf(format, v...)) }
func (l *serverLog) Errorf(format string, v ...any) {
	l.tell(slog.LevelError, fmt.Sprintf(format, v...))
}
func (l *serverLog) Debugf(string, ...any) {}
func (l *serverLog) Tracef(string, ...any) {}

func (l *serverLog) Fatalf(format string, v ...any) {
	err := fmt.Errorf(format, v...)
	select {
	case l.fatal <- err:
	default:
		l.log.Error(err.Error())
	}
}
