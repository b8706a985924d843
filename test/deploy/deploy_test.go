// Package deploy checks the shipped deployment files as far as that goes without a container engine.
package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const root = "../../deploy"

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

type compose struct {
	Services map[string]struct {
		Image       string
		Build       struct{ Dockerfile, Target string }
		Secrets     []string
		User        string
		ReadOnly    bool `yaml:"read_only"`
		Environment map[string]string
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
		Volumes     []string
		NetworkMode string `yaml:"network_mode"`
	}
	Volumes map[string]any
	Secrets map[string]struct{ File string }
}

func TestComposeIsCompleteAndHardened(t *testing.T) {
	var c compose
	if err := yaml.Unmarshal([]byte(read(t, "compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nats-1", "nats-2", "nats-3", "postgres", "authsvc-1", "authsvc-2", "resourcesvc-1", "resourcesvc-2", "prometheus"} {
		if _, ok := c.Services[want]; !ok {
			t.Errorf("no service %s", want)
		}
	}
	targets := read(t, "docker/Dockerfile")
	for name, s := range c.Services {
		if s.Image == "" || strings.HasSuffix(s.Image, ":latest") {
			t.Errorf("%s: image %q", name, s.Image)
		}
		for _, secret := range s.Secrets {
			if c.Secrets[secret].File == "" {
				t.Errorf("%s: secret %s is not declared", name, secret)
			}
		}
		for needed := range s.DependsOn {
			if _, ok := c.Services[needed]; !ok {
				t.Errorf("%s: depends on %s, which is not there", name, needed)
			}
		}
		for variable, value := range s.Environment {
			if path, ok := strings.CutPrefix(value, "/run/secrets/"); ok && !slices.Contains(s.Secrets, path) {
				t.Errorf("%s: %s names a secret that it is not given", name, variable)
			}
		}
		if s.Build.Target == "" {
			continue
		}
		if !strings.Contains(targets, " AS "+s.Build.Target+"\n") {
			t.Errorf("%s: the Dockerfile has no target %s", name, s.Build.Target)
		}
		if !s.ReadOnly || s.User == "" {
			t.Errorf("%s: writable, or runs as root", name)
		}
	}
}

// TestPrepareMakesEverySecret: what compose mounts is what the script writes.
func TestPrepareMakesEverySecret(t *testing.T) {
	var c compose
	if err := yaml.Unmarshal([]byte(read(t, "compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	script := read(t, "prepare")
	for name, secret := range c.Secrets {
		made := strings.Contains(script, "once "+name+"\n") || strings.Contains(script, " "+strings.TrimSuffix(name, ".nk")+" ")
		if secret.File != "secrets/"+name || !made {
			t.Errorf("secret %s (%s) is not made by deploy/prepare", name, secret.File)
		}
	}
	if out, err := exec.Command("bash", "-n", filepath.Join(root, "prepare")).CombinedOutput(); err != nil {
		t.Errorf("bash -n: %v: %s", err, out)
	}
}

func TestPrometheusScrapesEveryReplica(t *testing.T) {
	var p struct {
		ScrapeConfigs []struct {
			JobName       string                       `yaml:"job_name"`
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "prometheus.yml")), &p); err != nil {
		t.Fatal(err)
	}
	var targets []string
	for _, job := range p.ScrapeConfigs {
		for _, static := range job.StaticConfigs {
			targets = append(targets, static.Targets...)
		}
	}
	want := []string{"authsvc-1:8080", "authsvc-2:8080", "resourcesvc-1:8081", "resourcesvc-2:8081"}
	if !slices.Equal(targets, want) {
		t.Errorf("targets %v, want %v", targets, want)
	}
}

func TestImagesAreStaticAndNotRoot(t *testing.T) {
	dockerfile := read(t, "docker/Dockerfile")
	for _, want := range []string{"CGO_ENABLED=0", "FROM scratch AS base", "USER 65532:65532"} {
		if !strings.Contains(dockerfile, want) {
			t.Errorf("the Dockerfile lacks %q", want)
		}
	}
}

// programPath is where the units expect the programs; the check runs without them being installed.
var programPath = regexp.MustCompile(`/usr/local/bin/[a-z-]+`)

func TestSystemdUnitsAreValid(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("no systemd-analyze on this machine")
	}
	units, err := filepath.Glob(filepath.Join(root, "systemd", "*.service"))
	if err != nil || len(units) != 5 {
		t.Fatalf("units: %v, %v", units, err)
	}
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for _, unit := range units {
		name := filepath.Base(unit)
		content := programPath.ReplaceAllString(read(t, "systemd/"+name), "/bin/true")
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	if out, err := exec.Command("systemd-analyze", args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze: %v: %s", err, out)
	}
}
