// Package local runs the built programs on this machine: authsvc with SQLite and its embedded NATS, and resourcesvc,
// each as a process with only its own variables.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Config says what to start where. Empty addresses take free ports.
type Config struct {
	// Bin is the directory of the programs.
	Bin string
	// AuthDir and ResourceDir are their data directories.
	AuthDir, ResourceDir string
	// AuthAddr, ResourceAddr and NATSAddr are where they listen.
	AuthAddr, ResourceAddr, NATSAddr string
	// AuthEnv and ResourceEnv are further variables, as NAME=VALUE.
	AuthEnv, ResourceEnv []string
	// Output gets what both print, each line with its program's name before it.
	Output io.Writer
}

// System is a running pair. It belongs to one goroutine.
type System struct {
	auth, resource *process
	// AuthURL, ResourceURL and NATSURL are where they really listen.
	AuthURL, ResourceURL, NATSURL string
	// AdminPasswordFile holds the bootstrap admin's password.
	AdminPasswordFile string
}

// startTimeout bounds how long one program may take to become ready.
const startTimeout = 2 * time.Minute

// Start starts both and returns when both are ready. What it started is stopped again when it fails.
func Start(ctx context.Context, cfg Config) (*System, error) {
	s := &System{AdminPasswordFile: absolute(filepath.Join(cfg.AuthDir, "admin-password"))}
	if err := s.startAuth(ctx, cfg); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	if err := s.startResource(ctx, cfg); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *System) startAuth(ctx context.Context, cfg Config) error {
	env := append([]string{
		"TOCSIN_HTTP_ADDR=" + orFree(cfg.AuthAddr),
		"TOCSIN_DATA_DIR=" + cfg.AuthDir,
		"TOCSIN_NATS_LISTEN=" + orFree(cfg.NATSAddr),
	}, cfg.AuthEnv...)
	var err error
	if s.auth, err = startProcess("authsvc", cfg, env); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if s.AuthURL, err = s.auth.printed(ctx, "http://"); err != nil {
		return err
	}
	if s.NATSURL, err = s.auth.printed(ctx, "nats://"); err != nil {
		return err
	}
	return s.auth.ready(ctx, s.AuthURL)
}

func (s *System) startResource(ctx context.Context, cfg Config) error {
	env := append([]string{
		"TOCSIN_HTTP_ADDR=" + orFree(cfg.ResourceAddr),
		"TOCSIN_DATA_DIR=" + cfg.ResourceDir,
		"TOCSIN_NATS_URL=" + s.NATSURL,
		"TOCSIN_NATS_CREDS=" + filepath.Join(cfg.AuthDir, "nats", "resourcesvc.nk"),
		"TOCSIN_ISSUER=" + s.AuthURL,
	}, cfg.ResourceEnv...)
	var err error
	if s.resource, err = startProcess("resourcesvc", cfg, env); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if s.ResourceURL, err = s.resource.printed(ctx, "http://"); err != nil {
		return err
	}
	return s.resource.ready(ctx, s.ResourceURL)
}

// Wait returns nil when ctx ends, or an error when a program ends before.
func (s *System) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.auth.ended:
		return s.auth.failure()
	case <-s.resource.ended:
		return s.resource.failure()
	}
}

// Stop ends both as an operator would, resourcesvc first, and returns when they have ended.
func (s *System) Stop() error {
	return errors.Join(s.resource.stop(), s.auth.stop())
}

func orFree(addr string) string {
	if addr == "" {
		return "127.0.0.1:0"
	}
	return addr
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// readyPoll is how often a starting program is asked whether it is ready.
const readyPoll = 20 * time.Millisecond

// ready returns when the program's /readyz answers 200.
func (p *process) ready(ctx context.Context, base string) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for !Ready(ctx, base) {
		select {
		case <-tick.C:
		case <-p.ended:
			return p.failure()
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready: %w", p.name, ctx.Err())
		}
	}
	return nil
}

// Ready reports whether a program answers that it is ready.
func Ready(ctx context.Context, base string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body) // so that the connection is used again
	return res.StatusCode == http.StatusOK
}

// environment is what a program gets of this process's variables: none that could configure it.
func environment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TZ"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
