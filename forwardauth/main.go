// Forwardauth is Tocsin's verifier as a program of its own, for services in any language: it stands beside nginx, HAProxy, Caddy,
// Traefik or Envoy, which ask it about each request before they forward that.
//
// [judge] decides; [api] and [envoy] are how it is asked. What a path is, and which route it takes, is in internal/target and
// internal/routes; what a backend is told, in internal/identity.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/tocsin-auth/tocsin/forwardauth/internal/identity"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
	verifierprometheus "github.com/tocsin-auth/tocsin/pkg/verifier/prometheus"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit code: 0 after a clean stop, 1 for a failure, 2 for a bad command line or configuration.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command, cfg, err := parse(args, stdout)
	switch {
	case errors.Is(err, errHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "forwardauth:", err)
		return 2
	case command == "version":
		fmt.Fprintln(stdout, "forwardauth", version)
		return 0
	}
	if err := serve(ctx, cfg, stdout, cfg.logger(stderr)); err != nil {
		fmt.Fprintln(stderr, "forwardauth:", err)
		if errors.Is(err, verifier.ErrConfig) {
			return 2
		}
		return 1
	}
	return 0
}

// gcPercent: each question is a few KiB of garbage on a heap of a few MiB, which would be collected some thirty times a second.
// What this costs is bounded by the caches: at most some hundred MiB with all of them full.
const gcPercent = 400

func serve(ctx context.Context, cfg config, stdout io.Writer, log *slog.Logger) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	v, err := verifier.New(ctx, cfg.verifier(), cfg.verifierOptions(log)...)
	if err != nil {
		return err
	}
	defer v.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		verifierprometheus.NewCollector(v))
	signer := identity.NewSigner(cfg.key, cfg.IdentityIssuer, cfg.IdentityLife)
	j, err := newJudge(judge{guard: v, style: cfg.style, table: cfg.table, signer: signer, metrics: newMetrics(registry), log: log})
	if err != nil {
		return err
	}
	a := &api{judge: j, proxies: cfg.proxies, registry: registry, jwks: signer.JWKS()}
	if cfg.style.URI != "" {
		return listenAndServe(ctx, cfg.HTTPAddr, a.routes(), stdout, log)
	}
	stop, err := serveEnvoy(cfg.GRPCAddr, envoy{api: a}, stdout)
	if err != nil {
		return err
	}
	defer stop()
	return listenAndServe(ctx, cfg.HTTPAddr, a.routes(), stdout, log)
}

// stopTimeout bounds how long requests that are being answered may hold up a stop.
const stopTimeout = 10 * time.Second

// listenAndServe serves until ctx ends, then lets the requests that have begun finish.
func listenAndServe(ctx context.Context, addr string, h http.Handler, stdout io.Writer, log *slog.Logger) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("http-addr: %w", err)
	}
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	fmt.Fprintf(stdout, "forwardauth %s listening on http://%s\n", version, listener.Addr())

	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err = server.Shutdown(stopping)
	<-failed
	return err
}
