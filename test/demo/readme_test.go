package demo

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func asExit(err error, exit **exec.ExitError) bool { return errors.As(err, exit) }

func isOpen(address string) bool {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// blocks returns the fenced blocks of one language in the README.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(readme), -1) {
		found = append(found, match[1])
	}
	return found
}

func TestReadmeExampleBuilds(t *testing.T) {
	examples := blocks(t, "go")
	if len(examples) != 1 {
		t.Fatalf("%d Go examples, want 1", len(examples))
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "main.go")
	if err := os.WriteFile(file, []byte(examples[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "example"), file)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	if out, err := exec.Command("gofmt", "-l", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("not gofmt'ed: %v %s", err, out)
	}
}

func TestReadmeCommandsWorkWhileMakeRunIsRunning(t *testing.T) {
	needs(t, "bash")
	r := startRun(t)
	if err := os.Symlink(binDir, filepath.Join(r.dir, "bin")); err != nil {
		t.Fatal(err)
	}
	cars := filepath.Join(r.dir, "..", "cars") // the module, beside the checkout
	if err := os.Mkdir(cars, 0o700); err != nil {
		t.Fatal(err)
	}
	auth := regexp.MustCompile(`(?m)^authsvc +(http://\S+)`).FindStringSubmatch(r.output.String())[1]
	var script []string
	for _, block := range blocks(t, "sh") {
		if strings.Contains(block, "bin/authctl") {
			script = append(script, block)
		}
	}
	if len(script) != 2 {
		t.Fatalf("%d blocks of authctl, want 2", len(script))
	}
	alice := `curl -sf -H 'Content-Type: application/json' -d '{"username":"alice","password":"a long pass phrase"}' ` + auth + "/v1/register\n"
	out := r.shell(t, "export TOCSIN_URL="+auth+"\n"+alice+strings.Join(script, ""))
	for _, want := range []string{"applied by 1 of 1 verifiers", "resourcesvc", "fresh"} {
		if !strings.Contains(out, want) {
			t.Errorf("nothing said %q:\n%s", want, out)
		}
	}
	if info, err := os.Stat(filepath.Join(cars, "cars.nk")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the seed: %v, %v", info, err)
	}
}
