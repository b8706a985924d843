// Demo tells what Tocsin does, step by step, with the milliseconds that each step took. It uses the services that
// `make run` started, or starts its own. It is what `make demo` runs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tocsin-auth/tocsin/test/demo/local"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	bin, auth, resource, password string
	fresh                         bool
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&o.bin, "bin", "bin", "directory of the programs")
	flags.StringVar(&o.auth, "auth", "http://127.0.0.1:8080", "URL of a running authsvc")
	flags.StringVar(&o.resource, "resource", "http://127.0.0.1:8081", "URL of a running resourcesvc")
	flags.StringVar(&o.password, "admin-password-file", "data/admin-password", "password of the running authsvc's admin")
	flags.BoolVar(&o.fresh, "fresh", false, "start services even if some are running")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	places, stop, err := o.services(ctx, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return tell(ctx, places, out)
}

// places is where the services are, and who may administer them.
type places struct{ auth, resource, adminPassword, bin string }

// services finds running services or starts fresh ones in a directory that goes with them.
func (o options) services(ctx context.Context, out io.Writer) (places, func() error, error) {
	password, err := readPassword(o.password)
	if !o.fresh && err == nil && local.Ready(ctx, o.auth) && local.Ready(ctx, o.resource) {
		fmt.Fprintf(out, "using the running services %s and %s\n", o.auth, o.resource)
		return places{o.auth, o.resource, password, o.bin}, func() error { return nil }, nil
	}
	return o.start(ctx, out)
}

func (o options) start(ctx context.Context, out io.Writer) (places, func() error, error) {
	dir, err := os.MkdirTemp("", "tocsin-demo-*")
	if err != nil {
		return places{}, nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return places{}, nil, err
	}
	fmt.Fprintln(out, "starting authsvc and resourcesvc")
	system, err := local.Start(ctx, local.Config{
		Bin: o.bin, AuthDir: filepath.Join(dir, "auth"), ResourceDir: filepath.Join(dir, "resource"), Output: log,
	})
	if err != nil {
		return places{}, nil, fmt.Errorf("%w (what they said is in %s)", err, log.Name())
	}
	stop := func() error { return errors.Join(system.Stop(), log.Close(), os.RemoveAll(dir)) }
	password, err := readPassword(system.AdminPasswordFile)
	if err != nil {
		return places{}, nil, errors.Join(err, stop())
	}
	return places{system.AuthURL, system.ResourceURL, password, o.bin}, stop, nil
}

func readPassword(path string) (string, error) {
	content, err := os.ReadFile(path)
	return strings.TrimSpace(string(content)), err
}
