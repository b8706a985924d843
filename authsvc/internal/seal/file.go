package seal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ReadFile returns the master key that a file holds. It wraps fs.ErrNotExist when there is no file.
func ReadFile(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if _, err := New(string(text)); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return string(text), nil
}

// CreateFile makes a master key in a file (0600), or returns the one that is there already. The file is on disk when
// it returns: what is sealed under the key must never outlive it.
func CreateFile(path string) (string, error) {
	temp, err := os.CreateTemp(filepath.Dir(path), ".secrets-*") // 0600
	if err != nil {
		return "", err
	}
	defer os.Remove(temp.Name())
	key := NewKey()
	_, err = temp.WriteString(key + "\n")
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return "", err
	}
	// A link, unlike a rename, never replaces a key that another process made meanwhile.
	if err := os.Link(temp.Name(), path); errors.Is(err, fs.ErrExist) {
		return ReadFile(path)
	} else if err != nil {
		return "", err
	}
	return key, syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
