package system

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// AdminPassword is the bootstrap admin's in every system that this package starts.
const AdminPassword = "the admin of every test"

// Auth is a running authsvc.
type Auth struct {
	*Process
	API
	Issuer  string
	NATSURL string
	DataDir string
	// DatabaseURL is that of its own database.
	DatabaseURL string
}

// Resource is a running resourcesvc.
type Resource struct {
	*Process
	API
}

// StartAuth starts an authsvc with its own data folder and embedded NATS, unless env says otherwise, and waits until
// it is ready.
func StartAuth(t testing.TB, env map[string]string) *Auth {
	t.Helper()
	a := PrepareAuth(t, env)
	a.Restart(t)
	return a
}

// PrepareAuth configures an authsvc and doesn't start it.
func PrepareAuth(t testing.TB, env map[string]string) *Auth {
	t.Helper()
	addr, natsAddr := FreeAddr(t), FreeAddr(t)
	all := map[string]string{
		"TOCSIN_HTTP_ADDR":                addr,
		"TOCSIN_NATS_LISTEN":              natsAddr,
		"TOCSIN_DATA_DIR":                 filepath.Join(t.TempDir(), "data"),
		"TOCSIN_BOOTSTRAP_ADMIN_PASSWORD": AdminPassword,
		// Everybody in a test comes from one address.
		"TOCSIN_LIMIT_LOGINS": "off", "TOCSIN_LIMIT_ACCOUNT_TRIES": "0", "TOCSIN_LIMIT_REGISTRATIONS": "off", "TOCSIN_LIMIT_CREDENTIALS": "off",
	}
	maps.Copy(all, env)
	a := &Auth{
		Process: Command(t, "authsvc", all, "serve"),
		API:     API{Base: "http://" + all["TOCSIN_HTTP_ADDR"]},
		Issuer:  all["TOCSIN_ISSUER"],
		NATSURL: all["TOCSIN_NATS_URL"],
		DataDir: all["TOCSIN_DATA_DIR"],

		DatabaseURL: all["TOCSIN_DATABASE_URL"],
	}
	if a.DatabaseURL == "" {
		a.DatabaseURL = "sqlite:" + filepath.Join(a.DataDir, "tocsin.db")
	}
	if a.Issuer == "" {
		a.Issuer = a.Base
	}
	if a.NATSURL == "" {
		a.NATSURL = "nats://" + natsAddr
	}
	return a
}

// Restart starts the program, again after it ended, with the same configuration, and waits until it is ready.
func (a *Auth) Restart(t testing.TB) {
	t.Helper()
	a.Start(t)
	a.WaitReady(t, a.Base+"/readyz")
}

// ResourceEnv returns the variables that connect a resourcesvc to this authsvc.
func (a *Auth) ResourceEnv(t testing.TB) map[string]string {
	t.Helper()
	return map[string]string{
		"TOCSIN_HTTP_ADDR":  FreeAddr(t),
		"TOCSIN_DATA_DIR":   filepath.Join(t.TempDir(), "data-resource"),
		"TOCSIN_NATS_URL":   a.NATSURL,
		"TOCSIN_NATS_CREDS": filepath.Join(a.DataDir, "nats", "resourcesvc.nk"),
		"TOCSIN_ISSUER":     a.Issuer,
	}
}

// StartResource starts a resourcesvc beside an authsvc and waits until it is ready.
func StartResource(t testing.TB, a *Auth, env map[string]string) *Resource {
	t.Helper()
	r := PrepareResource(t, a, env)
	r.Start(t)
	r.WaitReady(t, r.Base+"/readyz")
	return r
}

// PrepareResource configures a resourcesvc and doesn't start it.
func PrepareResource(t testing.TB, a *Auth, env map[string]string) *Resource {
	t.Helper()
	all := a.ResourceEnv(t)
	maps.Copy(all, env)
	return &Resource{Process: Command(t, "resourcesvc", all, "serve"), API: API{Base: "http://" + all["TOCSIN_HTTP_ADDR"]}}
}

// Secret reads a file that a program wrote, such as DATA_DIR/admin-password.
func Secret(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
