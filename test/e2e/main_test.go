// Package e2e runs the real programs against real databases and checks what users are promised.
package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

func TestMain(m *testing.M) {
	code := pgtest.Run(m) // and natstest, when this process is one of its nodes
	system.RemoveBuild()
	os.Exit(code)
}

// engines names the databases that every scenario runs on, and makes the variables that select a fresh one.
var engines = map[string]func(t *testing.T) map[string]string{
	"SQLite": func(t *testing.T) map[string]string { return map[string]string{} },
	"PostgreSQL": func(t *testing.T) map[string]string {
		return map[string]string{"TOCSIN_DATABASE_URL": pgtest.URL(t)}
	},
}

// onEachEngine runs a scenario on a system of one authsvc and one resourcesvc.
func onEachEngine(t *testing.T, scenario func(t *testing.T, a *system.Auth, r *system.Resource)) {
	onEachEngineWithB(t, "30s", scenario)
}

// patiently is the B of services whose refusals would tell of nothing but a slow machine: the longest.
const patiently = "5m"

// onEachEngineWithB is onEachEngine with a service whose B is another one.
func onEachEngineWithB(t *testing.T, b string, scenario func(t *testing.T, a *system.Auth, r *system.Resource)) {
	for name, env := range engines {
		t.Run(name, func(t *testing.T) {
			a := system.StartAuth(t, env(t))
			settings := resourceDatabase(t, name)
			settings["TOCSIN_MAX_STALENESS"] = b
			r := system.StartResource(t, a, settings)
			scenario(t, a, r)
		})
	}
}

// resourceDatabase gives resourcesvc its own database of the same engine, never auth's.
func resourceDatabase(t *testing.T, engine string) map[string]string {
	if engine == "PostgreSQL" {
		return map[string]string{"TOCSIN_DATABASE_URL": pgtest.URL(t)}
	}
	return map[string]string{"TOCSIN_DATABASE_URL": "sqlite:" + filepath.Join(t.TempDir(), "resource.db")}
}

func path(format string, args ...any) string { return fmt.Sprintf(format, args...) }
