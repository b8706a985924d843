package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

// backups take and restore a database under running programs.
type backups struct {
	take, restore func(t *testing.T)
}

// sqliteBackup copies the database's files while the process stands still, as a snapshot of the file system does.
func sqliteBackup(t *testing.T, a *system.Auth) backups {
	dir := t.TempDir()
	files := []string{"tocsin.db", "tocsin.db-wal"}
	copyAll := func(t *testing.T, from, to string) {
		t.Helper()
		for _, name := range files {
			os.Remove(filepath.Join(to, name))
			copyFile(t, filepath.Join(from, name), filepath.Join(to, name))
		}
	}
	return backups{
		take: func(t *testing.T) {
			a.Freeze(t)
			copyAll(t, a.DataDir, dir)
			a.Thaw()
		},
		restore: func(t *testing.T) {
			os.Remove(filepath.Join(a.DataDir, "tocsin.db-shm"))
			copyAll(t, dir, a.DataDir)
		},
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

func postgresBackup(t *testing.T, url string) backups {
	file := filepath.Join(t.TempDir(), "dump")
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	return backups{
		take: func(t *testing.T) {
			os.Remove(file)
			must(t, pgtest.Dump(t.Context(), url, file))
		},
		restore: func(t *testing.T) { must(t, pgtest.Restore(t.Context(), url, file)) },
	}
}

// bystander logs in, makes events and keeps a service busy until it is stopped, so that a backup is taken under traffic.
func bystander(t *testing.T, a *system.Auth) (stop func()) {
	u := a.Register(t, "bystander")
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			again := map[string]string{"username": u.Name, "password": u.Password}
			got, err := a.Try(t.Context(), "POST", "/v1/login", "", again)
			if err != nil || got.Status != http.StatusOK {
				continue
			}
			var s struct {
				AccessToken string `json:"access_token"`
			}
			got.Into(t, &s)
			a.Try(t.Context(), "POST", "/v1/logout?wait=none", system.Bearer(s.AccessToken), nil)
		}
	})
	return func() { close(done); running.Wait() }
}

// request is a call of authsvc.
type request struct {
	method, path, authorization string
	body                        any
}

// fate is what becomes of a user after the backup, and which of the credentials must be dead then. The others must live.
type fate struct {
	name  string
	call  func(admin, u, other system.User) request // nil: none
	dead  string                                    // of "a b key ra rb": access tokens, the key, refresh tokens
	roles string                                    // what the service sees where one is accepted
}

func (v victim) act(t *testing.T, a *system.Auth, admin system.User) {
	t.Helper()
	if v.call == nil {
		return
	}
	q := v.call(admin, v.a, v.b)
	if got := a.Do(t, q.method, q.path+"?wait=published&timeout=30s", q.authorization, q.body); got.Status/100 != 2 {
		t.Fatalf("%s %s: %v", q.method, q.path, got)
	}
}

func fates() []fate {
	revocation := func(body func(u, other system.User) map[string]any) func(admin, u, other system.User) request {
		return func(admin, u, other system.User) request {
			return request{"POST", "/v1/admin/revocations", admin.Auth(), body(u, other)}
		}
	}
	byAdmin := func(method, path string, body any) func(admin, u, other system.User) request {
		return func(admin, u, _ system.User) request {
			return request{method, strings.ReplaceAll(path, "{id}", u.ID), admin.Auth(), body}
		}
	}
	byUser := func(method, path string, body any) func(admin, u, other system.User) request {
		return func(_, u, _ system.User) request {
			return request{method, strings.ReplaceAll(path, "{key}", u.LiveKeyID), u.Auth(), body}
		}
	}
	return []fate{
		{name: "untouched"},
		{name: "token", call: revocation(func(u, _ system.User) map[string]any { return map[string]any{"token": u.Token} }), dead: "a"},
		{name: "session", call: revocation(func(_, other system.User) map[string]any { return map[string]any{"session_id": other.Session} }), dead: "b rb"},
		{name: "logout", call: byUser("POST", "/v1/logout", nil), dead: "a ra"},
		{name: "user", call: revocation(func(u, _ system.User) map[string]any { return map[string]any{"user_id": u.ID} }), dead: "a b key ra rb"},
		{name: "users", call: revocation(func(u, _ system.User) map[string]any { return map[string]any{"user_ids": []string{u.ID}} }), dead: "a b key ra rb"},
		{name: "tokens", call: byAdmin("POST", "/v1/admin/users/{id}/revoke", nil), dead: "a b ra rb"},
		{name: "disabled", call: byAdmin("PUT", "/v1/admin/users/{id}/status", map[string]any{"disabled": true}), dead: "a b key ra rb"},
		{name: "deleted", call: byAdmin("DELETE", "/v1/admin/users/{id}", nil), dead: "a b key ra rb"},
		{name: "demoted", call: byAdmin("PUT", "/v1/admin/users/{id}/roles", map[string]any{"roles": []string{"guest"}}), roles: "guest"},
		{name: "keysuspended", call: byUser("PATCH", "/v1/me/api-keys/{key}", map[string]any{"disabled": true}), dead: "key"},
		{name: "keydeleted", call: byUser("DELETE", "/v1/me/api-keys/{key}", nil), dead: "key"},
		{name: "keyrotated", call: byUser("POST", "/v1/me/api-keys/{key}/rotate", map[string]any{"overlap": "0s"}), dead: "key"},
	}
}

// victim is a user with two sessions whose fate comes after the backup.
type victim struct {
	fate
	a, b system.User
}

func victims(t *testing.T, a *system.Auth, prefix string) (all []victim) {
	for _, f := range fates() {
		v := victim{fate: f, a: a.Register(t, prefix+f.name)}
		v.b = v.a
		a.Login(t, &v.b)
		all = append(all, v)
	}
	return all
}

func (v victim) dies(credential string) bool {
	for _, dead := range strings.Fields(v.dead) {
		if dead == credential {
			return true
		}
	}
	return false
}

// wantFate asks a service with each credential, on the ordinary and the elite route. One that was running may be fresh by a proof from
// before the revocation, whose news it may have missed: it has B to know.
func (v victim) wantFate(t *testing.T, who string, r *system.Resource) {
	t.Helper()
	for _, route := range []string{"/v1/whoami", "/v1/whoami/elite"} {
		for name, credential := range map[string]string{"a": v.a.Auth(), "b": v.b.Auth(), "key": system.Key(v.a.LiveKey)} {
			decided := func(a system.Answer) bool { return a.Status != http.StatusServiceUnavailable } // as on a busy machine
			if who == running && route == "/v1/whoami" {
				began := time.Now()
				decided = func(a system.Answer) bool {
					return a.Status != http.StatusServiceUnavailable && (v.problem(name, a) == "" || a.Began.Sub(began) > defaultB)
				}
			}
			got := r.Eventually(t, "GET", route, credential, decided)
			if problem := v.problem(name, got); problem != "" {
				t.Errorf("%s, %s of %q on %s %s: %v", who, name, v.fate.name, route, problem, got)
			}
		}
	}
}

// running is who was there before a fate, and defaultB is its B at most.
const (
	running  = "a running verifier"
	defaultB = 30 * time.Second
)

// problem tells what is wrong with an answer about a credential.
func (v victim) problem(credential string, got system.Answer) string {
	switch {
	case v.dies(credential) && got.Status != http.StatusUnauthorized:
		return "is accepted"
	case !v.dies(credential) && got.Status != http.StatusOK:
		return "is refused"
	case v.roles != "" && !strings.Contains(string(got.Body), v.roles):
		return "has not the new roles"
	}
	return ""
}

// wantRefresh uses the refresh tokens up.
func (v victim) wantRefresh(t *testing.T, a *system.Auth) {
	t.Helper()
	for name, token := range map[string]string{"ra": v.a.RefreshToken, "rb": v.b.RefreshToken} {
		got := a.Do(t, "POST", "/v1/token/refresh", "", map[string]any{"refresh_token": token})
		if (got.Status == http.StatusOK) == v.dies(name) {
			t.Errorf("%s of %q: %v", name, v.fate.name, got)
		}
	}
}

func TestNothingLostWhenTheDatabaseIsRestoredFromABackup(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		a := system.StartAuth(t, nil)
		testRestore(t, a, sqliteBackup(t, a))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		url := pgtest.URL(t)
		a := system.StartAuth(t, map[string]string{"TOCSIN_DATABASE_URL": url})
		testRestore(t, a, postgresBackup(t, url))
	})
}

func testRestore(t *testing.T, a *system.Auth, b backups) {
	service := system.StartResource(t, a, nil)
	crash := func() { // the process belongs to the whole test
		a.Kill()
		before := imports([]*system.Auth{a})
		b.restore(t)
		a.Restart(t)
		awaitImport(t, []*system.Auth{a}, before) // which a machine that stands still may put off: see "What is not promised"
	}

	// Every kind of revocation, between the backup and the crash.
	all := victims(t, a, "first")
	stop := bystander(t, a)
	b.take(t)
	stop()
	admin := a.Admin(t)
	for _, v := range all {
		v.act(t, a, admin)
	}
	crash()
	check := func(t *testing.T, all []victim) {
		t.Helper()
		fresh := system.StartResource(t, a, nil)
		defer fresh.Kill()
		again(t, service, a.Admin(t))
		for _, v := range all {
			v.wantFate(t, running, service)
			v.wantFate(t, "a new verifier", fresh)
			v.wantRefresh(t, a)
		}
	}
	check(t, all)

	// Once more, to a backup from before the present epoch: what was imported then is imported again.
	crash()
	fresh := system.StartResource(t, a, nil)
	again(t, service, a.Admin(t))
	for _, v := range all {
		v.wantFate(t, running, service)
		v.wantFate(t, "a new verifier after the second time", fresh)
	}
	fresh.Kill()

	t.Run("everything was revoked", func(t *testing.T) {
		u := a.Register(t, "everything")
		b.take(t)
		a.Must(t, 200, "POST", "/v1/admin/revocations?wait=published&timeout=30s", a.Admin(t).Auth(), map[string]any{"all": true, "keys": true})
		crash()
		v := victim{fate: fate{name: "everything", dead: "a b key ra rb"}, a: u, b: u}
		check(t, []victim{v})
		a.Login(t, &u)
		service.Must(t, 200, "GET", "/v1/whoami", u.Auth(), nil)
	})
	t.Run("the signing key was dropped in an emergency", func(t *testing.T) {
		u := a.Register(t, "emergency")
		b.take(t)
		a.Must(t, 200, "POST", "/v1/admin/signing-keys/rotate?wait=published&timeout=30s", a.Admin(t).Auth(), map[string]any{"emergency": true})
		crash()
		fresh := system.StartResource(t, a, nil)
		for _, r := range []*system.Resource{service, fresh} {
			r.Eventually(t, "GET", "/v1/whoami", u.Auth(), system.Status(401, ""))
		}
		a.Login(t, &u)
		for _, r := range []*system.Resource{service, fresh} {
			r.Eventually(t, "GET", "/v1/whoami", u.Auth(), system.Status(200, ""))
		}
	})
}

// What a feed key has signed that is younger than the backup can't be verified. That something is missing must be seen all the same.
func TestNothingLostSilentlyWhenTheBackupIsOlderThanTheFeedKey(t *testing.T) {
	for name, emergency := range map[string]bool{"rotated in an emergency": true, "rotated": false} {
		t.Run(name, func(t *testing.T) {
			a := system.StartAuth(t, nil)
			running := system.StartResource(t, a, nil)
			b := sqliteBackup(t, a)
			u, v := a.Register(t, "lost"), a.Register(t, "kept")
			b.take(t)
			admin := a.Admin(t)
			rotateFeedKey(t, a, admin.Auth(), map[string]any{"emergency": emergency, "ahead": "0s"})
			machine.Await(t, "that the new key signs", func() bool { return strings.Contains(a.Output(), "can be read with the new feed key alone") })
			a.Must(t, 200, "POST", "/v1/admin/revocations?wait=fleet&timeout=30s", admin.Auth(), map[string]any{"user_id": u.ID})
			a.Kill()
			b.restore(t)
			a.Restart(t)
			machine.Await(t, "word that something is missing", func() bool {
				return strings.Contains(a.Output(), "the stream doesn't hold everything since the backup")
			})
			again(t, running, a.Admin(t))
			// A verifier that heard of it keeps it, and takes part in the new epoch.
			running.Eventually(t, "GET", "/v1/whoami", system.Key(u.LiveKey), system.Status(401, ""))
			running.Eventually(t, "GET", "/v1/whoami", system.Key(v.LiveKey), system.Status(200, ""))
			// What the runbook says.
			a.Must(t, 200, "POST", "/v1/admin/revocations?wait=published&timeout=30s", a.Admin(t).Auth(), map[string]any{"all": true, "keys": true})
			for _, route := range []string{"/v1/whoami", "/v1/whoami/elite"} {
				running.Eventually(t, "GET", route, system.Key(u.LiveKey), system.Status(401, ""))
				running.Eventually(t, "GET", route, system.Key(v.LiveKey), system.Status(401, ""))
			}
		})
	}
}

// again waits until a service asks authsvc again: its connection to the bus has to come back.
func again(t *testing.T, r *system.Resource, u system.User) {
	t.Helper()
	r.WaitReady(t, r.Base+"/readyz")
	r.Eventually(t, "GET", "/v1/whoami/elite", u.Auth(), func(a system.Answer) bool { return a.Status != 503 })
}

// Two replicas on one PostgreSQL, which is restored under them, and then while they are down.
func TestNothingLostWhenPostgreSQLIsRestoredUnderItsReplicas(t *testing.T) {
	f := startFleet(t)
	url := f.database
	b := postgresBackup(t, url)
	start := func() { // the processes belong to the whole test
		f.auth[0].Start(t)
		f.auth[1].Start(t)
	}
	for name, down := range map[string]bool{"running through it": false, "restarted": true} {
		t.Run(name, func(t *testing.T) {
			a := f.auth[0]
			prefix := strings.Fields(name)[0]
			all := victims(t, a, prefix)
			b.take(t)
			admin := a.Admin(t)
			for _, v := range all {
				v.act(t, a, admin)
			}
			if down {
				for _, one := range f.auth {
					one.Kill()
				}
			}
			before := imports(f.auth)
			b.restore(t)
			if down {
				start()
			} else {
				awaitImport(t, f.auth, before)
			}
			for _, one := range f.auth {
				one.WaitReady(t, one.Base+"/readyz")
			}
			fresh := system.StartResource(t, a, map[string]string{"TOCSIN_NATS_CREDS": f.nats.SeedFile("resourcesvc")})
			defer fresh.Kill()
			for _, v := range all {
				for _, r := range f.resources {
					again(t, r, a.Admin(t))
					v.wantFate(t, running, r)
				}
				v.wantFate(t, "a new verifier", fresh)
				v.wantRefresh(t, f.auth[1])
			}
		})
	}
	t.Run("running through it, the signing key dropped in an emergency", func(t *testing.T) {
		a := f.auth[0]
		u := a.Register(t, "emergency")
		b.take(t)
		a.Must(t, 200, "POST", "/v1/admin/signing-keys/rotate?wait=published&timeout=30s", a.Admin(t).Auth(), map[string]any{"emergency": true})
		for _, one := range f.auth { // so that each has the new key, which the backup doesn't know
			lost := u
			one.Login(t, &lost)
		}
		before := imports(f.auth)
		b.restore(t)
		awaitImport(t, f.auth, before)
		for _, one := range f.auth {
			one.WaitReady(t, one.Base+"/readyz")
			one.Eventually(t, "GET", "/v1/me", u.Auth(), system.Status(401, ""))
			fresh := u
			one.Login(t, &fresh)
			for _, r := range f.resources {
				// 503 while the keys can't be looked up, and until the cool-down of 10 s of that is over.
				r.Eventually(t, "GET", "/v1/whoami", u.Auth(), system.Status(401, ""))
				r.Eventually(t, "GET", "/v1/whoami/elite", fresh.Auth(), system.Status(200, "")) // by the keys of the database
			}
		}
	})
}

// imports counts how often one of the replicas has imported.
func imports(all []*system.Auth) (n int) {
	for _, a := range all {
		n += strings.Count(a.Output(), "imported from the stream")
	}
	return n
}

// awaitImport returns when one of the replicas has imported once more.
func awaitImport(t *testing.T, all []*system.Auth, before int) {
	t.Helper()
	machine.Await(t, "a replica's import of the stream", func() bool { return imports(all) > before }) // only their logs tell
}
