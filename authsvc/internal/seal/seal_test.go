package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func newSealer(t *testing.T, key string) *Sealer {
	t.Helper()
	s, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestASealedSecretOpensUnderItsKeyAndNameOnly(t *testing.T) {
	key := NewKey()
	s, secret := newSealer(t, key), []byte("secret")
	sealed := s.Seal("refresh", secret)
	if bytes.Contains(sealed, secret) || bytes.Equal(sealed, s.Seal("refresh", secret)) {
		t.Fatal("readable, or the same twice")
	}
	got, err := newSealer(t, key+"\n").Open("refresh", sealed)
	if err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("%q, %v", got, err)
	}
	damaged := bytes.Clone(sealed)
	damaged[len(damaged)-1] ^= 1
	other := bytes.Clone(sealed)
	other[0]++
	for name, open := range map[string]func() ([]byte, error){
		"another name":    func() ([]byte, error) { return s.Open("feed", sealed) },
		"another key":     func() ([]byte, error) { return newSealer(t, NewKey()).Open("refresh", sealed) },
		"damaged":         func() ([]byte, error) { return s.Open("refresh", damaged) },
		"another version": func() ([]byte, error) { return s.Open("refresh", other) },
		"too short":       func() ([]byte, error) { return s.Open("refresh", sealed[:5]) },
		"empty":           func() ([]byte, error) { return s.Open("refresh", nil) },
	} {
		if got, err := open(); !errors.Is(err, ErrOpen) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestMasterKeysAreThirtyTwoBytes(t *testing.T) {
	key := bytes.Repeat([]byte{0xfe}, KeySize)
	for _, text := range []string{
		hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key), " " + NewKey() + "\n",
	} {
		if _, err := New(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "hunter2", hex.EncodeToString(key[1:]), strings.Repeat("a", 63)} {
		if _, err := New(text); !errors.Is(err, ErrKeyFormat) || (text != "" && strings.Contains(err.Error(), text)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAKeyFileIsMadeOncePrivately(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.key")
	if _, err := ReadFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%v", err)
	}
	var group sync.WaitGroup
	keys := make([]string, 8)
	for i := range keys {
		group.Go(func() {
			key, err := CreateFile(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = strings.TrimSpace(key)
		})
	}
	group.Wait()
	for _, key := range keys {
		if key != keys[0] {
			t.Error("two keys were made")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Fatalf("%v, %v", left, err)
	}
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); !errors.Is(err, ErrKeyFormat) || !strings.Contains(err.Error(), path) {
		t.Fatalf("%v", err)
	}
}
