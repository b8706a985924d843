package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/nats-io/nkeys"
)

type nkeysCmd struct {
	Dir   string   `arg:"" type:"path" help:"Directory of the seeds: NAME.nk, mode 0600."`
	Names []string `arg:"" help:"Names, such as auth_feed, auth_reply, sys and one for each resource service."`
}

var nkeyName = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

// Run makes the seeds that are missing and prints all public keys as the variables that deploy/nats.conf reads.
func (cmd nkeysCmd) Run(out *printer) error {
	if err := os.MkdirAll(cmd.Dir, 0o700); err != nil {
		return err
	}
	var pairs []string
	for _, name := range cmd.Names {
		if !nkeyName.MatchString(name) {
			return fmt.Errorf("%w: %q is not a name", errUsage, name)
		}
		public, err := ensureSeed(filepath.Join(cmd.Dir, name+".nk"))
		if err != nil {
			return err
		}
		pairs = append(pairs, "TOCSIN_NKEY_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")), public)
	}
	if out.json {
		return out.object(pairs)
	}
	for i := 0; i < len(pairs); i += 2 {
		if _, err := fmt.Fprintf(out.w, "%s=%s\n", pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// ensureSeed returns the public key of the seed in a file that it makes when it is missing.
func ensureSeed(path string) (public string, err error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newSeed(path)
	}
	if err != nil {
		return "", err
	}
	pair, err := nkeys.ParseDecoratedNKey(content)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

func newSeed(path string) (public string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", err
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return "", err
	}
	if err := writeNew(path, string(seed)+"\n"); err != nil {
		return "", err
	}
	return pair.PublicKey()
}
