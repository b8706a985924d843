package bus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"
)

func newKey() (public, seed string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", "", fmt.Errorf("make NKey: %w", err)
	}
	defer pair.Wipe()
	raw, err := pair.Seed()
	if err != nil {
		return "", "", fmt.Errorf("make NKey: %w", err)
	}
	if public, err = pair.PublicKey(); err != nil {
		return "", "", fmt.Errorf("make NKey: %w", err)
	}
	return public, string(raw), nil
}

// LocalService returns a service whose seed lies in DATA_DIR/nats/<name>.nk (0600), and makes the file when it is
// missing. Main calls it at the first start of a database with an embedded server, so that resourcesvc can join at once.
func LocalService(dataDir, name string) (Service, error) {
	s := Service{Name: name}
	if err := validateName(name); err != nil {
		return s, err
	}
	dir, err := natsDir(dataDir)
	if err != nil {
		return s, err
	}
	if s.NKey, err = ensureSeed(seedPath(dir, name)); err != nil {
		return s, err
	}
	return s, validate(s)
}

func natsDir(dataDir string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(dataDir, "nats"))
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	return dir, nil
}

func seedPath(dir, user string) string { return filepath.Join(dir, user+".nk") }

// ensureSeed returns the public key of the seed in a file that it makes when it is missing.
func ensureSeed(path string) (public string, err error) {
	public, err = publicKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return public, err
	}
	public, seed, err := newKey()
	if err != nil {
		return "", err
	}
	return public, writeFile(path, seed+"\n")
}

func publicKey(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("NKey seed: %w", err)
	}
	pair, err := nkeys.ParseDecoratedNKey(raw)
	if err != nil {
		return "", fmt.Errorf("NKey seed %s: %w", path, err)
	}
	defer pair.Wipe()
	public, err := pair.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return "", fmt.Errorf("NKey seed %s: not a user's", path)
	}
	return public, nil
}

// writeFile replaces a file as a whole: after a crash there is the old content or the new one.
func writeFile(path, content string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
