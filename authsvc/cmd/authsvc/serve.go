package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
	"github.com/tocsin-auth/tocsin/authsvc/internal/bus"
	"github.com/tocsin-auth/tocsin/authsvc/internal/config"
	"github.com/tocsin-auth/tocsin/authsvc/internal/elite"
	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/httpapi"
	"github.com/tocsin-auth/tocsin/authsvc/internal/keyring"
	"github.com/tocsin-auth/tocsin/authsvc/internal/keyuse"
	"github.com/tocsin-auth/tocsin/authsvc/internal/liveness"
	"github.com/tocsin-auth/tocsin/authsvc/internal/quota"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// serve runs the server until ctx ends or HTTP fails. Each part is stopped before the parts that it rests on.
func serve(ctx context.Context, cfg config.Serve, stdout, stderr io.Writer) (err error) {
	starting := newStartLog(newLogger(cfg.Database, stderr).Handler())
	log := slog.New(starting)
	life := &lifetime{log: log}
	defer func() { err = errors.Join(err, life.stop()) }()
	p := &program{cfg: cfg, log: log, stdout: stdout, life: life, metrics: newRegistry()}
	for _, step := range []func(context.Context) error{
		p.holdPlace, p.openDatabase, p.agreeOnIssuer, p.openKeys, p.makeDomain, p.startBus, p.startFeed, p.awaitSettled, p.startElite, p.startHTTP,
	} {
		if err := step(ctx); err != nil {
			if ctx.Err() != nil {
				return nil // it was stopped while it started
			}
			return err
		}
	}
	starting.release()
	p.announce()
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-p.failed:
		return err
	}
}

// program is the parts that run.
type program struct {
	cfg     config.Serve
	log     *slog.Logger
	stdout  io.Writer
	life    *lifetime
	metrics *prometheus.Registry

	dir      *config.DataDir
	listener net.Listener
	issuer   string
	db       *store.DB
	ring     *keyring.Ring
	members  []store.Service // at the start
	bus      *bus.Bus
	feed     *feed.Feed
	gatherer *liveness.Gatherer
	uses     *keyuse.Recorder
	domain   *auth.Service
	failed   chan error
}

// holdPlace takes what only one process can have, before anything else happens: the data directory and the port.
func (p *program) holdPlace(ctx context.Context) error {
	dir, err := config.OpenDataDir(p.cfg.DataDir)
	if err != nil {
		return err
	}
	p.dir = dir
	p.life.closes("data directory", dir.Close)
	var listen net.ListenConfig
	if p.listener, err = listen.Listen(ctx, "tcp", p.cfg.HTTPAddr); err != nil {
		return fmt.Errorf("HTTP address %s: %w", p.cfg.HTTPAddr, cause(err))
	}
	p.life.closes("listener", func() error { p.listener.Close(); return nil }) // the HTTP server has closed it, if it came so far
	if p.issuer = p.cfg.Issuer; p.issuer == "" {
		p.issuer = config.DefaultIssuer(p.listener.Addr())
	}
	return p.tryNATSPort(ctx)
}

// tryNATSPort finds out early that the embedded server couldn't listen, before the database is touched.
func (p *program) tryNATSPort(ctx context.Context) error {
	if p.cfg.NATSURL != "" {
		return nil
	}
	var listen net.ListenConfig
	probe, err := listen.Listen(ctx, "tcp", p.cfg.NATSListen)
	if err != nil {
		return fmt.Errorf("NATS address %s: %w", p.cfg.NATSListen, cause(err))
	}
	return probe.Close()
}

// cause drops what a network error repeats of the address.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func (p *program) openDatabase(ctx context.Context) error {
	db, err := store.Open(ctx, p.cfg.DatabaseURL, p.log, wrongClock()...)
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	p.db = db
	p.life.closes("database", db.Close)
	if err := db.Migrate(ctx); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	// Known before the first token is issued: how long events must be kept rests on it.
	return db.Update(ctx, func(tx *store.Tx) error { return tx.RaiseAccessTTL(ctx, p.cfg.AccessTTL) })
}

func (p *program) openKeys(ctx context.Context) error {
	sealer, err := keyring.MasterKey(ctx, p.db, p.cfg.SecretsKey, p.dir.File("secrets.key"))
	if err != nil {
		return fmt.Errorf("%w: TOCSIN_SECRETS_KEY: %w", errUsage, err)
	}
	p.ring, err = keyring.Open(ctx, keyring.Config{DB: p.db, Sealer: sealer, Issuer: p.issuer, Alg: p.cfg.SigningAlg, Log: p.log})
	if errors.Is(err, keyring.ErrMasterKey) {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if err != nil {
		return err
	}
	p.life.started("signing keys", followKeys(p.ring, p.log))
	return nil
}

// makeDomain comes before the bus and the feed, so that what it finds bad is found before anybody else notices a start.
func (p *program) makeDomain(ctx context.Context) error {
	var err error
	if p.members, err = p.firstMembers(ctx); err != nil {
		return err
	}
	p.gatherer = liveness.NewGatherer(p.db, liveness.DefaultShares)
	p.life.started("reads", p.gatherer.Close)
	p.uses = keyuse.Start(ctx, keyuse.Write(p.db), p.log)
	p.life.started("key uses", p.uses.Close)
	p.domain, err = auth.New(auth.Config{
		DB: p.db, Reads: p.gatherer, Ring: p.ring, Bus: laterBus{p}, Nudge: p.nudge, Used: p.uses.Note, Log: p.log,
		Issuer: p.issuer, Audience: p.cfg.Audience, AccessTTL: p.cfg.AccessTTL,
		RefreshTTL: p.cfg.RefreshTTL, RefreshIdle: p.cfg.RefreshIdle, PasswordMin: p.cfg.PasswordMin, AuditRetention: p.cfg.AuditRetention,
	})
	if err != nil {
		return err
	}
	if err := p.metrics.Register(hashingGauge(p.domain)); err != nil {
		return err
	}
	if err := p.metrics.Register(useCollector{p.uses}); err != nil {
		return err
	}
	p.life.started("memory", trimMemory(func() bool { return p.domain.Hashing() > 0 }))
	return p.bootstrap(ctx)
}

// nudge does nothing before the feed runs, which looks at everything when it begins.
func (p *program) nudge() {
	if p.feed != nil {
		p.feed.Nudge()
	}
}

func (p *program) startBus(ctx context.Context) error {
	var err error
	p.bus, err = bus.Start(ctx, bus.Config{
		DataDir: p.dir.Path, URL: p.cfg.NATSURL, Listen: p.cfg.NATSListen, Creds: p.cfg.NATSCreds, ReplyCreds: p.cfg.NATSReplyCreds, Log: p.log,
	}, p.members)
	if err != nil {
		return err
	}
	p.life.started("bus", p.bus.Close)
	return nil
}

func (p *program) startFeed(ctx context.Context) error {
	var err error
	p.feed, err = feed.Start(ctx, feed.Config{
		DB: p.db, Feed: p.bus.Feed(), Reply: p.bus.Reply(), Issuer: p.issuer, Signer: p.ring.FeedSigner, Keys: p.ring.FeedKeys,
		FeedUp: p.bus.FeedUp, ReplyUp: p.bus.ReplyUp, Granted: p.bus.Granted, Replicas: p.cfg.StreamReplicas, MaxAge: p.cfg.StreamMaxAge, Housekeeping: p.keepHouse, Restored: p.restored, Log: p.log,
	})
	if err != nil {
		return err
	}
	p.life.started("feed", p.feed.Close)
	return p.metrics.Register(feedCollector{p.feed, p.db})
}

// keepHouse is called by the feed while this process is the dispatcher.
func (p *program) keepHouse(ctx context.Context) error {
	retired, err := p.ring.RetireDue(ctx)
	if retired {
		p.feed.Nudge()
	}
	return errors.Join(err, p.ring.RetireFeedKeys(ctx), p.domain.Prune(ctx), p.domain.PruneAudit(ctx))
}

func (p *program) startElite(ctx context.Context) error {
	observe, err := newEliteMetrics(p.metrics)
	if err != nil {
		return err
	}
	responders, err := elite.Start(ctx, elite.Config{
		Conn: p.bus.Reply(), Up: p.bus.ReplyUp, Store: settledStore{p.db, p.feed}, Gather: p.gatherer, Ring: p.ring, Pages: p.feed.Pages, Quotas: quota.NewLedger(p.db), Observe: observe, Log: p.log,
	})
	if err != nil {
		return err
	}
	p.life.started("elite", responders.Close)
	return p.uses.Listen(p.bus.Reply())
}

func (p *program) startHTTP(context.Context) error {
	api, err := httpapi.New(httpapi.Config{
		Auth: p.domain, Receipts: receipts{p.feed.Receipts}, Fleets: fleets{p.feed.Fleet}, Keys: p.ring, Ready: p.checks(),
		Issuer: p.issuer, SigningAlg: p.cfg.SigningAlg, Version: buildVersion(), Metrics: p.metrics, Log: p.log,
		Limits: httpapi.Limits{Logins: httpapi.Limit(p.cfg.LimitLogins), Registrations: httpapi.Limit(p.cfg.LimitRegistrations),
			Credentials: httpapi.Limit(p.cfg.LimitCredentials), AccountTries: p.cfg.LimitAccountTries},
		TrustedProxies: p.cfg.Proxies,
	})
	if err != nil {
		return err
	}
	server := api.HTTPServer()
	p.failed = make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
			p.failed <- fmt.Errorf("HTTP: %w", err)
		}
	}()
	p.life.started("HTTP", func(ctx context.Context) error {
		defer func() { <-ended }()
		ctx, cancel := context.WithTimeout(ctx, stopTimeout*2/3) // the rest of the time is for the rest
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			return errors.Join(err, server.Close())
		}
		return nil
	})
	return nil
}

var (
	errDisconnected = errors.New("not connected")
	errNoFeed       = errors.New("no dispatcher has begun yet")
)

// checks are what /readyz asks. The feed is ready when some replica dispatches.
func (p *program) checks() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"database": p.db.Readable,
		"nats": func(context.Context) error {
			if !p.bus.FeedUp() || !p.bus.ReplyUp() {
				return errDisconnected
			}
			return p.bus.Refused()
		},
		"feed": func(context.Context) error {
			if p.feed.Stats().Epoch == "" {
				return errNoFeed
			}
			return p.lossless()
		},
	}
}

// announce prints where the server is.
func (p *program) announce() {
	if p.dir.Exposed {
		p.log.Warn("other users of this machine can look into the data directory", "path", p.dir.Path)
	}
	if !config.TrustedIssuer(p.issuer) {
		p.log.Warn("verifiers fetch the feed keys over plain HTTP from this machine only; the issuer should be an https URL", "issuer", p.issuer)
	}
	if p.db.Engine() == store.Postgres && p.bus.Embedded() {
		p.log.Warn("the embedded NATS server is for one authsvc: replicas on the same database need a NATS that they share, TOCSIN_NATS_URL")
	}
	nats := p.bus.URL()
	if nats == "" {
		nats = p.cfg.NATSURL
	}
	local := config.DefaultIssuer(p.listener.Addr())
	fmt.Fprintf(p.stdout, "authsvc listens on %s (issuer %s, documentation %s/docs), NATS %s\n", local, p.issuer, local, nats)
}
