// Command pgtest runs a command with a private PostgreSQL beside it, whose URL it finds in TOCSIN_TEST_POSTGRES_URL:
//
//	pgtest go test ./...
//
// Without a command it prints the URL of a fresh database and keeps the server until it is interrupted. It exits with
// the command's code, and with 3 when this machine has no PostgreSQL.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/tocsin-auth/tocsin/test/pgtest"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
	}
	os.Exit(code)
}

func run(command []string) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := pgtest.Start(ctx)
	switch {
	case errors.Is(err, pgtest.ErrMissing):
		return 3, err
	case err != nil:
		return 1, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	if len(command) == 0 {
		return serve(ctx, server)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), pgtest.EnvURL+"="+server.URL())
	err = cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

func serve(ctx context.Context, server *pgtest.Server) (int, error) {
	database, err := server.CreateDatabase(ctx)
	if err != nil {
		return 1, err
	}
	fmt.Println(database)
	<-ctx.Done()
	return 0, nil
}
