package e2e

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

var stale = system.Status(503, "stale")

func TestNothingLostByKillMinusNineAndTheLossOfTheStream(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		admin := a.Admin(t)
		for _, name := range []string{"frank", "grace", "heidi"} {
			u := a.Register(t, name)
			r.Must(t, 200, "GET", "/v1/whoami", u.Auth(), nil)
			a.Must(t, 200, "POST", "/v1/admin/revocations?wait=none", admin.Auth(), map[string]any{"token": u.Token})
			a.Kill()
			if err := os.RemoveAll(filepath.Join(a.DataDir, "nats", "jetstream")); err != nil {
				t.Fatal(err)
			}
			a.Restart(t)
			r.Eventually(t, "GET", "/v1/whoami", u.Auth(), revoked)

			// One that knew nothing before learns it too.
			fresh := system.StartResource(t, a, nil)
			if got := fresh.Do(t, "GET", "/v1/whoami", u.Auth(), nil); !revoked(got) {
				t.Errorf("a new verifier: %v", got)
			}
			fresh.Kill()
		}
	})
}

func TestBoundedAcceptanceEndsWithoutProof(t *testing.T) {
	a := system.StartAuth(t, nil)
	u := a.Register(t, "ivan")
	r := system.StartResource(t, a, map[string]string{"TOCSIN_MAX_STALENESS": "2s"})
	r.Eventually(t, "GET", "/v1/whoami", u.Auth(), system.Status(200, ""))

	a.Freeze(t)
	frozen := time.Now()
	var last time.Duration // when the last request began that was accepted
	r.Eventually(t, "GET", "/v1/whoami", u.Auth(), func(a system.Answer) bool {
		if a.Status == 200 {
			last = a.Began.Sub(frozen)
		}
		return stale(a)
	})
	if last > 2*time.Second {
		t.Errorf("accepted %v after the last proof that there can be; the bound is 2s", last)
	}
	if got := r.Do(t, "GET", "/v1/whoami", u.Auth(), nil); got.Header.Get("Retry-After") == "" {
		t.Errorf("stale without Retry-After: %v", got)
	}
	if got := r.Do(t, "GET", "/readyz", "", nil); got.Status != 503 {
		t.Errorf("ready while stale: %v", got)
	}
	a.Thaw()
	r.Eventually(t, "GET", "/v1/whoami", u.Auth(), system.Status(200, ""))
}

func TestBoundedAcceptanceTheFirstRequestAfterAThawIsRefused(t *testing.T) {
	a := system.StartAuth(t, nil)
	admin, u := a.Admin(t), a.Register(t, "judy")
	r := system.StartResource(t, a, map[string]string{"TOCSIN_MAX_STALENESS": "1s"})
	r.Eventually(t, "GET", "/v1/whoami", u.Auth(), system.Status(200, ""))

	r.Freeze(t)
	a.Must(t, 200, "POST", "/v1/admin/revocations", admin.Auth(), map[string]any{"token": u.Token})
	time.Sleep(1200 * time.Millisecond) // the freeze has to outlast the bound in real time
	r.Thaw()
	if got := r.Do(t, "GET", "/v1/whoami", u.Auth(), nil); got.Status == 200 {
		t.Errorf("the first request after the thaw was accepted: %v", got)
	}
}

func TestNotReadyUntilProvenAServiceThatStartsFirstAcceptsNothing(t *testing.T) {
	a := system.StartAuth(t, nil)
	u := a.Register(t, "kim")
	a.Stop(t)
	r := system.PrepareResource(t, a, nil)
	r.Start(t)
	r.WaitReady(t, r.Base+"/healthz")
	for name, credential := range map[string]string{"token": u.Auth(), "key": system.Key(u.LiveKey)} {
		if got := r.Do(t, "GET", "/v1/whoami", credential, nil); got.Status != 503 {
			t.Errorf("%s before the first proof: %v", name, got)
		}
	}
	a.Restart(t)
	r.WaitReady(t, r.Base+"/readyz")
	r.Must(t, 200, "GET", "/v1/whoami", u.Auth(), nil)
}

func TestNoCollateralOfAnAuthOutageShorterThanTheBound(t *testing.T) {
	onEachEngineWithB(t, patiently, func(t *testing.T, a *system.Auth, r *system.Resource) {
		u := a.Register(t, "liam")
		r.Must(t, 200, "GET", "/v1/whoami", system.Key(u.LiveKey), nil)
		a.Kill()
		for range 200 {
			r.Must(t, 200, "GET", "/v1/whoami", u.Auth(), nil)
			r.Must(t, 200, "GET", "/v1/whoami", system.Key(u.LiveKey), nil)
		}
		if got := r.Do(t, "GET", "/v1/whoami/elite", u.Auth(), nil); got.Code() != "auth_unavailable" {
			t.Errorf("elite without auth: %v", got)
		}
		a.Restart(t)
		r.Eventually(t, "GET", "/v1/whoami/elite", u.Auth(), system.Status(200, ""))
	})
}

func TestProgramsStopCleanlyOnSIGTERM(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		if code := r.Stop(t); code != 0 {
			t.Errorf("resourcesvc: exit %d", code)
		}
		if code := a.Stop(t); code != 0 {
			t.Errorf("authsvc: exit %d", code)
		}
	})
}

func TestABadStartSaysWhyInOneLine(t *testing.T) {
	a := system.StartAuth(t, nil)
	for name, c := range map[string]struct {
		program string
		env     map[string]string
		names   string
		exit    int
	}{
		"unknown duration":   {"authsvc", map[string]string{"TOCSIN_ACCESS_TTL": "soon"}, "TOCSIN_ACCESS_TTL", 2},
		"short passwords":    {"authsvc", map[string]string{"TOCSIN_PASSWORD_MIN": "7"}, "TOCSIN_PASSWORD_MIN", 2},
		"unknown algorithm":  {"authsvc", map[string]string{"TOCSIN_SIGNING_ALG": "none"}, "TOCSIN_SIGNING_ALG", 2},
		"unknown database":   {"authsvc", map[string]string{"TOCSIN_DATABASE_URL": "mysql://x"}, "TOCSIN_DATABASE_URL", 2},
		"bad issuer":         {"authsvc", map[string]string{"TOCSIN_ISSUER": "auth.example.com"}, "TOCSIN_ISSUER", 2},
		"locked data folder": {"authsvc", map[string]string{"TOCSIN_DATA_DIR": a.DataDir}, a.DataDir, 1},
		"busy port":          {"authsvc", map[string]string{"TOCSIN_HTTP_ADDR": strings.TrimPrefix(a.Base, "http://")}, strings.TrimPrefix(a.Base, "http://"), 1},
		"bound below 1s":     {"resourcesvc", map[string]string{"TOCSIN_MAX_STALENESS": "900ms"}, "TOCSIN_MAX_STALENESS", 2},
		"unknown policy":     {"resourcesvc", map[string]string{"TOCSIN_STALE_POLICY": "allow"}, "TOCSIN_STALE_POLICY", 2},
		"service with a dot": {"resourcesvc", map[string]string{"TOCSIN_SERVICE": "a.b"}, "TOCSIN_SERVICE", 2},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{
				"TOCSIN_HTTP_ADDR": "127.0.0.1:0", "TOCSIN_NATS_LISTEN": "127.0.0.1:0",
				"TOCSIN_DATA_DIR": filepath.Join(t.TempDir(), "data"),
			}
			if c.program == "resourcesvc" {
				delete(env, "TOCSIN_NATS_LISTEN")
			}
			for k, v := range c.env {
				env[k] = v
			}
			exit, out := system.Run(t, c.program, env, "serve")
			if lines := strings.Count(strings.TrimSpace(out), "\n") + 1; exit != c.exit || lines != 1 || !strings.Contains(out, c.names) {
				t.Errorf("exit %d, %d lines, want exit %d and one line that names %s:\n%s", exit, lines, c.exit, c.names, out)
			}
		})
	}
}

func TestAReplicaWithAnotherIssuerDoesNotStart(t *testing.T) {
	url := pgtest.URL(t)
	a := system.StartAuth(t, map[string]string{"TOCSIN_DATABASE_URL": url})
	machine.Steadily(t, func() error { // the other one is seen to run by its lease, of a second
		exit, out := system.Run(t, "authsvc", map[string]string{"TOCSIN_DATABASE_URL": url, "TOCSIN_HTTP_ADDR": "127.0.0.1:0",
			"TOCSIN_NATS_LISTEN": "127.0.0.1:0", "TOCSIN_DATA_DIR": filepath.Join(t.TempDir(), "data")}, "serve")
		if exit != 2 || !strings.Contains(out, "TOCSIN_ISSUER") || !strings.Contains(out, a.Issuer) {
			return fmt.Errorf("exit %d:\n%s", exit, out)
		}
		return nil
	})
	// Alone it may have any, whose lease ever goes on.
	a.Kill()
	a.Set("TOCSIN_ISSUER=http://127.0.0.1:1")
	a.Restart(t)
}

func TestADatabaseOfANewerProgramIsLeftAlone(t *testing.T) {
	url := pgtest.URL(t)
	a := system.StartAuth(t, map[string]string{"TOCSIN_DATABASE_URL": url})
	a.Stop(t)
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `UPDATE compatibility SET min_version = 1000`); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"serve", "migrate"} {
		env := map[string]string{"TOCSIN_DATA_DIR": a.DataDir, "TOCSIN_DATABASE_URL": url}
		if command == "serve" {
			env["TOCSIN_HTTP_ADDR"], env["TOCSIN_NATS_LISTEN"] = "127.0.0.1:0", "127.0.0.1:0"
		}
		exit, out := system.Run(t, "authsvc", env, command)
		if exit != 1 || strings.Count(strings.TrimSpace(out), "\n") != 0 || !strings.Contains(out, "newer") {
			t.Errorf("%s: exit %d:\n%s", command, exit, out)
		}
	}
}
