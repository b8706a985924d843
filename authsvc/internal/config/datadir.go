package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrLocked means that another process uses the data directory.
var ErrLocked = errors.New("is in use by another process")

// DataDir is a data directory that this process holds alone. The lock is the kernel's: it ends with the process,
// however that ends.
type DataDir struct {
	Path string
	// Exposed tells that other users of the machine may read the directory, which is worth a warning.
	Exposed bool

	lock *os.File
}

// OpenDataDir creates the directory if need be and locks it. The error is one line that names the path, wrapping
// [ErrLocked] when another process holds it.
func OpenDataDir(path string) (*DataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, errors.Join(fmt.Errorf("data directory %s %w", path, ErrLocked), lock.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock data directory %s: %w", path, err), lock.Close())
	}
	return &DataDir{Path: path, Exposed: info.Mode().Perm()&0o007 != 0, lock: lock}, nil
}

// File returns the path of a file in the directory.
func (d *DataDir) File(name string) string { return filepath.Join(d.Path, name) }

// Close gives the directory up.
func (d *DataDir) Close() error { return d.lock.Close() }
