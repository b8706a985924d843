package figure

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/system"
)

// Page is one results file.
type Page struct{ text strings.Builder }

// Add appends a paragraph.
func (p *Page) Add(format string, args ...any) {
	fmt.Fprintf(&p.text, format+"\n\n", args...)
}

// Table appends a table; the first row is its head.
func (p *Page) Table(rows ...[]string) {
	for i, row := range rows {
		p.text.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			p.text.WriteString(strings.Repeat("| --- ", len(row)) + "|\n")
		}
	}
	p.text.WriteString("\n")
}

func (p *Page) String() string { return p.text.String() }

// Where tells the commit, the machine and how busy it was, as a sentence.
func Where() string {
	return fmt.Sprintf("Commit %s. %d CPUs%s, %s/%s, %s. Load before: %s. Programs, databases, NATS and what measures share the machine. Durability is on.",
		commit(), runtime.NumCPU(), cpu(), runtime.GOOS, runtime.GOARCH, runtime.Version(), load())
}

// commit names what was measured. A page of results that another measurement has just written is no change of it.
func commit() string {
	head := said("git", "describe", "--always")
	changed := said("git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)test/bench/results")
	if changed == "" || head == unknown {
		return head
	}
	return head + "-dirty"
}

// cpu names the processor where the system tells it.
func cpu() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return " (" + strings.TrimSpace(value) + ")"
		}
	}
	return ""
}

func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(b))
	if err != nil || len(fields) < 3 {
		return unknown
	}
	return strings.Join(fields[:3], " ")
}

// unknown is what the system doesn't tell.
const unknown = "unknown"

func said(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return unknown
	}
	return strings.TrimSpace(string(out))
}

// Write puts a file into a folder of results, made if need be, and tells where. Paths are relative to the checkout.
func Write(t testing.TB, folder, name, text string) {
	t.Helper()
	root, err := system.Root()
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(folder) {
		folder = filepath.Join(root, folder)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("written: %s", name)
}

// Today is how results are dated.
func Today() string { return time.Now().UTC().Format(time.DateOnly) }
