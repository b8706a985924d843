package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every block of Go in docs/embedding.md compiles, and its tests pass.
func TestEmbeddingGuideCompiles(t *testing.T) {
	text, err := os.ReadFile("../../docs/embedding.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 10 {
		t.Fatalf("%d blocks: was the guide written otherwise?", len(blocks))
	}
	dir := t.TempDir()
	var programs, parts []string // parts of one package
	for n, block := range blocks {
		file := filepath.Join(dir, fmt.Sprintf("block%d_test.go", n+1))
		if strings.HasPrefix(block[1], "package ") {
			programs = append(programs, file)
		} else {
			block[1] = asFile(block[1])
			parts = append(parts, file)
		}
		if err := os.WriteFile(file, []byte(block[1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	succeeds(t, "gofmt", "-d", dir)
	for _, file := range programs {
		succeeds(t, "go", "vet", file)
	}
	succeeds(t, "go", append([]string{"test"}, parts...)...)
}

// succeeds runs a command whose output begins with what is wrong, if anything is.
func succeeds(t *testing.T, command string, args ...string) {
	t.Helper()
	out, err := exec.Command(command, args...).CombinedOutput()
	if err != nil || command == "gofmt" && len(out) > 0 {
		t.Errorf("%s %s: %v\n%s", command, args[0], err, out)
	}
}

// imports are those that blocks may use without saying so.
var imports = map[string]string{
	"context": "context", "json": "encoding/json", "errors": "errors", "fmt": "fmt", "log": "log", "http": "net/http",
	"httptest": "net/http/httptest", "testing": "testing", "time": "time",
	"grpc": "google.golang.org/grpc", "verifier": "github.com/tocsin-auth/tocsin/pkg/verifier",
	"verifiergrpc": "github.com/tocsin-auth/tocsin/pkg/verifier/grpc",
	"verifiertest": "github.com/tocsin-auth/tocsin/pkg/verifier/verifiertest",
}

// surroundings are what statements stand in.
const surroundings = "func _(ctx context.Context, v *verifier.Verifier, mux *http.ServeMux, list, create, stream, remove http.HandlerFunc, key string) {\n"

var comment = regexp.MustCompile(`(?m)//.*$`)

// asFile makes a file of a block of declarations, or of statements.
func asFile(block string) string {
	if !strings.HasPrefix(block, "func ") {
		block = surroundings + "\t" + strings.TrimSuffix(strings.ReplaceAll(block, "\n", "\n\t"), "\t") + "}\n"
		block = strings.ReplaceAll(block, "\n\t\n", "\n\n")
	}
	if strings.Contains(block, "<-news") {
		block = "var news chan string\n\n" + block
	}
	used := ""
	for name, path := range imports {
		if regexp.MustCompile(`\b` + name + `\.`).MatchString(comment.ReplaceAllString(block, "")) {
			used += fmt.Sprintf("import %s %q\n", name, path)
		}
	}
	return "package guide\n\n" + used + "\n" + block
}
