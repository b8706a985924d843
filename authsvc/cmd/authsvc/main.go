// Command authsvc is the authentication server: users, sessions, tokens and API keys over HTTP, and the feed that tells
// every resource service when one of them dies.
//
// Exit codes: 0 after a clean stop, 1 when something outside of the configuration failed, 2 for a bad configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/tocsin-auth/tocsin/authsvc/internal/config"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// version is set by the linker for releases.
var version = ""

const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() { os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr)) }

func run(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	cfg, err := config.Parse(args, getenv, stdout)
	switch {
	case errors.Is(err, config.ErrHelp):
		return exitOK
	case err != nil:
		fmt.Fprintln(stderr, "authsvc:", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	switch cfg.Command {
	case config.CommandVersion:
		fmt.Fprintln(stdout, "authsvc", buildVersion())
	case config.CommandMigrate:
		err = migrate(ctx, cfg.Migrate, stdout, stderr)
	default:
		err = serve(ctx, cfg.Serve, stdout, stderr)
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "authsvc:", oneLine(err))
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitFailure
}

// oneLine is an error without the line breaks that some libraries put into theirs.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}

// errUsage marks an error that only another configuration can mend.
var errUsage = errors.New("bad configuration")

func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	return info.Main.Version
}

func newLogger(d config.Database, out io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(d.LogLevel)); err != nil {
		level = slog.LevelInfo // the flag is an enumeration
	}
	options := &slog.HandlerOptions{Level: level}
	if d.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

// migrate brings the schema up to date. Other processes may go on using PostgreSQL meanwhile; an SQLite database is its
// data directory's holder's alone.
func migrate(ctx context.Context, cfg config.Database, stdout, stderr io.Writer) error {
	if strings.HasPrefix(cfg.DatabaseURL, "sqlite:") {
		dir, err := config.OpenDataDir(cfg.DataDir)
		if err != nil {
			return err
		}
		defer dir.Close()
	}
	db, err := store.Open(ctx, cfg.DatabaseURL, newLogger(cfg, stderr))
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Migrate(ctx); err != nil {
		return err
	}
	fmt.Fprintln(stdout, "authsvc: the schema is up to date")
	return nil
}
