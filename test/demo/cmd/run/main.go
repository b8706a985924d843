// Run starts authsvc and resourcesvc on this machine and stops them on Ctrl-C. It is what `make run` runs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/tocsin-auth/tocsin/test/demo/local"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	cfg, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	cfg.Output = out
	system, err := local.Start(ctx, cfg)
	if err != nil {
		return err
	}
	explain(out, system)
	if err := system.Wait(ctx); err != nil {
		_ = system.Stop() // the first failure is the one to tell
		return err
	}
	fmt.Fprintln(out, "\nstopping")
	return system.Stop()
}

// variables collects repeated NAME=VALUE flags.
type variables []string

func (v *variables) String() string { return strings.Join(*v, " ") }

func (v *variables) Set(s string) error {
	if name, _, ok := strings.Cut(s, "="); !ok || name == "" {
		return errors.New("want NAME=VALUE")
	}
	*v = append(*v, s)
	return nil
}

func parse(args []string) (local.Config, error) {
	cfg := local.Config{}
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.StringVar(&cfg.Bin, "bin", "bin", "directory of the programs")
	flags.StringVar(&cfg.AuthDir, "data", "data", "data directory of authsvc")
	flags.StringVar(&cfg.ResourceDir, "resource-data", "data-resource", "data directory of resourcesvc")
	flags.StringVar(&cfg.AuthAddr, "auth", "127.0.0.1:8080", "where authsvc listens")
	flags.StringVar(&cfg.ResourceAddr, "resource", "127.0.0.1:8081", "where resourcesvc listens")
	flags.StringVar(&cfg.NATSAddr, "nats", "127.0.0.1:4222", "where the embedded NATS listens")
	flags.Var((*variables)(&cfg.AuthEnv), "auth-env", "a further variable of authsvc, NAME=VALUE; may be repeated")
	flags.Var((*variables)(&cfg.ResourceEnv), "resource-env", "a further variable of resourcesvc, NAME=VALUE; may be repeated")
	err := flags.Parse(args)
	return cfg, err
}

// explain prints all that a new user needs. The three lines work as they stand, in another terminal, in order.
func explain(out io.Writer, s *local.System) {
	fmt.Fprintf(out, `
authsvc      %[1]s   (API: %[1]s/docs)
resourcesvc  %[2]s
NATS         %[3]s
admin        the password of user "admin" is in %[4]s

Try, in another terminal: log in, call the service, log out. Then the second line again: 401, revoked.

  TOKEN=$(curl -s -H 'Content-Type: application/json' -d "{\"username\":\"admin\",\"password\":\"$(cat '%[4]s')\"}" %[1]s/v1/login | sed 's/.*"access_token": *"\([^"]*\)".*/\1/')
  curl -si -H "Authorization: Bearer $TOKEN" %[2]s/v1/whoami
  curl -si -X POST -H "Authorization: Bearer $TOKEN" %[1]s/v1/logout

Ctrl-C stops both.
`, s.AuthURL, s.ResourceURL, s.NATSURL, s.AdminPasswordFile)
}
