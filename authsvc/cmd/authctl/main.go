// Authctl operates authsvc from a terminal, over its HTTP API.
//
// Answers go to standard output, for people or with --json as authsvc gave them; errors go to standard error.
// It exits with 0, with 1 when authsvc refused or could not be reached, and with 2 for a wrong command line.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// version is set by the linker.
var version = "dev"

type commands struct {
	URL   string        `name:"url" env:"TOCSIN_URL" default:"http://127.0.0.1:8080" help:"Where authsvc is. Plain http only on this machine."`
	JSON  bool          `name:"json" help:"Print authsvc's answers as JSON."`
	Limit time.Duration `name:"http-timeout" env:"TOCSIN_HTTP_TIMEOUT" default:"45s" help:"Longest time for one call; a wait of up to 30s is part of it."`

	Login     loginCmd     `cmd:"" help:"Log in and keep the session for the next calls."`
	Logout    logoutCmd    `cmd:"" help:"End the session and forget it."`
	Revoke    revokeCmd    `cmd:"" help:"End credentials everywhere, now."`
	Users     usersCmd     `cmd:"" help:"List and change users."`
	Keys      keysCmd      `cmd:"" help:"List and change API keys."`
	Plans     plansCmd     `cmd:"" help:"Show and replace the plans, which limit what users may spend."`
	Usage     usageCmd     `cmd:"" help:"Show and reset what users have spent."`
	FeedKeys  feedKeysCmd  `cmd:"" help:"Rotate the key that signs the feed."`
	Services  servicesCmd  `cmd:"" help:"Let resource services join the bus."`
	Verifiers verifiersCmd `cmd:"" help:"Show every live verifier and how far it is."`
	NKeys     nkeysCmd     `cmd:"" name:"nkeys" help:"Make NKeys for an external NATS, offline."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
}

type versionCmd struct{}

func (versionCmd) Run(out *printer) error {
	_, err := fmt.Fprintln(out.w, "authctl", version)
	return err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// errUsage marks a wrong command line that only the command itself can see.
var errUsage = errors.New("wrong usage")

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var cmds commands
	helped := false
	parser, err := kong.New(&cmds, kong.Name("authctl"), kong.Description(description),
		kong.Writers(stdout, io.Discard), kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.BindTo(ctx, (*context.Context)(nil)))
	if err != nil {
		return complain(stderr, err, 2)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if helped {
		return 0
	}
	if err != nil {
		return complain(stderr, err, 2)
	}
	c, err := newClient(cmds.URL, cmds.Limit)
	if err != nil {
		return complain(stderr, err, 2)
	}
	parsed.BindTo(stdin, (*io.Reader)(nil))
	switch err := parsed.Run(c, &printer{w: stdout, notes: stderr, json: cmds.JSON}); {
	case errors.Is(err, errUsage):
		return complain(stderr, err, 2)
	case err != nil:
		return complain(stderr, err, 1)
	}
	return 0
}

const description = `Operate Tocsin.

The credential is TOCSIN_TOKEN, or the file that TOCSIN_TOKEN_FILE names, or else what "authctl login" kept in the user's configuration directory. Passwords and tokens are never arguments, since every user of a machine can read those.`

func complain(stderr io.Writer, err error, code int) int {
	fmt.Fprintln(stderr, "authctl:", printable(strings.Join(strings.Fields(err.Error()), " ")))
	return code
}

var uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
