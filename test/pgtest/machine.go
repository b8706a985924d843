package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// oldest is the oldest release that Tocsin supports.
const oldest = 15

// findBinaries returns the directory of initdb and postgres: on PATH, where pg_config says, or where Debian keeps them.
func findBinaries() (string, error) {
	for _, dir := range directories() {
		if usable(dir) {
			return dir, nil
		}
	}
	return "", ErrMissing
}

// findTool returns the path of another program of PostgreSQL's, which need not be where the server is.
func findTool(name string) (string, error) {
	for _, dir := range directories() {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: %s", ErrMissing, name)
}

// directories are where PostgreSQL's programs may be, the best first.
func directories() []string {
	var dirs []string
	if path, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is good
	slices.SortFunc(debian, func(a, b string) int { return release(b) - release(a) })
	return append(dirs, debian...)
}

// release reads the number in /usr/lib/postgresql/15/bin.
func release(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	return n
}

// usable reports whether a directory has both programs, of a release that is not too old.
func usable(dir string) bool {
	if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err != nil {
		return false
	}
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return false
	}
	fields := strings.Fields(string(out)) // postgres (PostgreSQL) 15.8 …
	if len(fields) < 3 {
		return false
	}
	major, _, _ := strings.Cut(fields[2], ".")
	n, err := strconv.Atoi(major)
	return err == nil && n >= oldest
}

// serverUser returns whom the server runs as: root may not. For others it is nil, themselves.
func serverUser() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(account.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(account.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")
}
