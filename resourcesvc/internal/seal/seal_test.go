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

func parse(t *testing.T, text string) Keys {
	t.Helper()
	keys, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func sealed(t *testing.T, keys Keys, tenant, job, grant string) Grant {
	t.Helper()
	g, err := keys.Seal(tenant, job, grant)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestAGrantOpensForItsTenantAndJobOnly(t *testing.T) {
	keys := parse(t, NewKey())
	g := sealed(t, keys, "alice", "job", "the grant")
	if strings.Contains(g.Text, "the grant") || g == sealed(t, keys, "alice", "job", "the grant") {
		t.Fatal("readable, or the same twice")
	}
	if got, err := keys.Open("alice", "job", g); got != "the grant" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	raw, _ := base64.RawStdEncoding.DecodeString(g.Text)
	raw[len(raw)-1] ^= 1
	for name, tc := range map[string]struct {
		tenant, job, text string
	}{
		"another tenant":       {"bob", "job", g.Text},
		"another job":          {"alice", "job2", g.Text},
		"the border moved":     {"alic", "e\njob", g.Text},
		"changed":              {"alice", "job", base64.RawStdEncoding.EncodeToString(raw)},
		"too short":            {"alice", "job", g.Text[:8]},
		"empty":                {"alice", "job", ""},
		"not even an encoding": {"alice", "job", "the grant!"},
	} {
		if got, err := keys.Open(tc.tenant, tc.job, Grant{g.KeyID, tc.text}); !errors.Is(err, ErrDamaged) || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestOldKeysOpenAndTheFirstSeals(t *testing.T) {
	first, second := NewKey(), NewKey()
	g := sealed(t, parse(t, first), "alice", "job", "the grant")
	both := parse(t, second+"\n"+first+"\n")
	if got, err := both.Open("alice", "job", g); got != "the grant" || err != nil {
		t.Errorf("under an old key: %q, %v", got, err)
	}
	if newer := sealed(t, both, "alice", "job", "the grant"); newer.KeyID != parse(t, second).IDs()[0] {
		t.Error("it wasn't the first that sealed")
	}
	for _, keys := range []Keys{parse(t, second), nil} {
		if _, err := keys.Open("alice", "job", g); !errors.Is(err, ErrKey) {
			t.Errorf("without its key: %v", err)
		}
	}
	if _, err := Keys(nil).Seal("alice", "job", "the grant"); !errors.Is(err, ErrKey) {
		t.Errorf("sealed without a key: %v", err)
	}
}

func TestKeysAreOfThirtyTwoBytesAndNeverShown(t *testing.T) {
	secret := bytes.Repeat([]byte{0xfe}, keySize)
	for _, text := range []string{
		hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret), " " + NewKey() + " \n",
	} {
		if got := parse(t, text); len(got) != 1 || strings.Contains(text, got.IDs()[0]) {
			t.Errorf("%d keys", len(got))
		}
	}
	for _, text := range []string{"", "hunter2", hex.EncodeToString(secret[1:]), strings.Repeat("a", 63), NewKey() + " hunter2"} {
		if _, err := Parse(text); !errors.Is(err, ErrFormat) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}

func TestAKeyFileIsMadeOncePrivately(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grants.key")
	if _, err := ReadFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	ids := make([]string, 8)
	var group sync.WaitGroup
	for i := range ids {
		group.Go(func() {
			keys, err := CreateFile(path)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = keys.IDs()[0]
		})
	}
	group.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Error("two keys were made")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Fatalf("%v, %v", left, err)
	}
	if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateFile(path); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), path) {
		t.Fatal(err)
	}
}

// FuzzOpen: a database may hold anything.
func FuzzOpen(f *testing.F) {
	keys, err := Parse(NewKey())
	if err != nil {
		f.Fatal(err)
	}
	g, err := keys.Seal("alice", "job", "the grant")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(g.KeyID, g.Text)
	f.Add("", "")
	f.Fuzz(func(t *testing.T, id, text string) {
		got, err := keys.Open("alice", "job", Grant{id, text})
		if err == nil && got != "the grant" || err != nil && got != "" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(NewKey())
	f.Add("x y")
	f.Fuzz(func(t *testing.T, text string) {
		if keys, err := Parse(text); err == nil && len(keys) == 0 || err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
	})
}
