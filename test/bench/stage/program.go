package stage

import (
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/test/system"
)

// SingleOf is [Single] with the authsvc at a path; "" is the one of this checkout.
func SingleOf(t testing.TB, path string) *Stage {
	t.Helper()
	return one(t, path, environment())
}

// SinglePostgres is SingleOf on PostgreSQL: one authsvc with its embedded bus.
func SinglePostgres(t testing.TB, path string) *Stage {
	t.Helper()
	s, env := &Stage{}, environment()
	env["TOCSIN_DATABASE_URL"] = s.database(t, false)
	started := one(t, path, env)
	started.Postgres = s.Postgres
	return started
}

func one(t testing.TB, path string, env map[string]string) *Stage {
	t.Helper()
	a := system.PrepareAuth(t, env)
	if path != "" {
		a.Use(path)
	}
	a.Restart(t)
	return &Stage{Auth: []*system.Auth{a}, Issuer: a.Issuer, Credentials: a.ResourceEnv(t)["TOCSIN_NATS_CREDS"],
		Bus: []string{strings.TrimPrefix(a.NATSURL, "nats://")}}
}
