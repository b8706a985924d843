// Resourcesvc is Tocsin's reference service: cars and AI jobs behind pkg/verifier. It is meant to be copied.
//
// [api.routes] says who may do what; the verifier's middleware in front of the handlers is all that a service needs.
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
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
	verifierprometheus "github.com/tocsin-auth/tocsin/pkg/verifier/prometheus"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/queue"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/worker"
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
	command, c, err := parse(args, stdout)
	switch {
	case errors.Is(err, errHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "resourcesvc:", err)
		return 2
	case command == "version":
		fmt.Fprintln(stdout, "resourcesvc", version)
		return 0
	}
	if command == "worker" {
		err = worker.Run(ctx, c.Worker.settings(), c.Worker.logger(stderr))
	} else {
		err = serve(ctx, c.Serve, stdout, c.Serve.logger(stderr))
	}
	if err != nil {
		fmt.Fprintln(stderr, "resourcesvc:", err)
		if errors.Is(err, verifier.ErrConfig) || errors.Is(err, errGrantsKey) {
			return 2
		}
		return 1
	}
	return 0
}

func serve(ctx context.Context, cfg config, stdout io.Writer, log *slog.Logger) error {
	v, err := verifier.New(ctx, cfg.verifier(), cfg.verifierOptions(log)...)
	if err != nil {
		return err
	}
	defer v.Close()
	if strings.HasPrefix(cfg.DatabaseURL, "sqlite:") {
		if err := cfg.makeDataDir(); err != nil {
			return err
		}
	}
	db, err := openStore(ctx, cfg.DatabaseURL)
	if err != nil {
		return err
	}
	defer db.close()

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		verifierprometheus.NewCollector(v))
	ctx, stop := context.WithCancel(ctx)
	a := &api{guard: v, store: db, showroom: newShowroom(db, log), rules: cfg.jobRules(), metrics: metrics, log: log, stopping: ctx.Done()}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()
	if cfg.apiKey != "" {
		if err := cfg.sealGrants(ctx, db); err != nil {
			return err
		}
		nc, err := cfg.connectQueue(log)
		if err != nil {
			return err
		}
		defer queue.Close(nc)
		if a.offerer, err = newOfferer(db, nc, cfg.QueueReplicas, metrics, log); err != nil {
			return err
		}
		a.issuer = cfg.exchange()
		tasks.Go(func() { a.offerer.run(ctx) })
		spender := newSpender(db, a.issuer, metrics, log)
		tasks.Go(func() { spender.run(ctx) })
	}
	tasks.Go(func() { a.showroom.run(ctx) })
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
	fmt.Fprintf(stdout, "resourcesvc %s listening on http://%s\n", version, listener.Addr())

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
