package e2e

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"testing"

	"github.com/tocsin-auth/tocsin/test/natstest"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

// fleet is what production looks like: replicas on one PostgreSQL and a three-node NATS cluster, one issuer.
type fleet struct {
	nats      *natstest.Cluster
	auth      []*system.Auth
	resources []*system.Resource
	database  string
}

func startFleet(t *testing.T) fleet {
	f := fleet{nats: natstest.StartCluster(t, "resourcesvc"), database: pgtest.URL(t)}
	secret := make([]byte, 32)
	rand.Read(secret)
	env := map[string]string{
		"TOCSIN_DATABASE_URL":     f.database,
		"TOCSIN_NATS_URL":         f.nats.URL(),
		"TOCSIN_NATS_CREDS":       f.nats.SeedFile("auth_feed"),
		"TOCSIN_NATS_REPLY_CREDS": f.nats.SeedFile("auth_reply"),
		"TOCSIN_STREAM_REPLICAS":  "3",
		"TOCSIN_SECRETS_KEY":      hex.EncodeToString(secret),
	}
	first := system.StartAuth(t, env)
	env = maps.Clone(env)
	env["TOCSIN_ISSUER"] = first.Issuer
	f.auth = []*system.Auth{first, system.StartAuth(t, env)}
	for range 2 {
		f.resources = append(f.resources, system.StartResource(t, first, map[string]string{
			"TOCSIN_NATS_CREDS": f.nats.SeedFile("resourcesvc"), "TOCSIN_MAX_STALENESS": patiently,
		}))
	}
	return f
}

// everywhere checks that no resource service accepts a credential any more.
func (f fleet) everywhere(t *testing.T, authorization string) {
	t.Helper()
	for _, r := range f.resources {
		r.Eventually(t, "GET", "/v1/whoami", authorization, revoked)
	}
}

func TestNoCollateralOfALostDispatcherAndALostNode(t *testing.T) {
	f := startFleet(t)
	first, second := f.auth[0], f.auth[1]
	admin, u := first.Admin(t), first.Register(t, "mallory")
	for _, r := range f.resources {
		r.Must(t, 200, "GET", "/v1/whoami", u.Auth(), nil)
	}

	// Either replica's word holds everywhere, and its receipt knows of both services.
	for _, a := range f.auth {
		a.Login(t, &u)
		got := a.Must(t, 200, "POST", "/v1/admin/revocations?wait=published&timeout=30s", admin.Auth(), map[string]any{"token": u.Token})
		if r := got.Receipt(t); !r.Published || r.Seq == nil {
			t.Errorf("receipt: %v", got)
		}
		f.everywhere(t, u.Auth())
	}

	// One node of the bus goes: nobody is refused, and revocations go on.
	first.Login(t, &u)
	f.nats.Kill(0)
	for range 300 {
		for _, r := range f.resources {
			r.Must(t, 200, "GET", "/v1/whoami", u.Auth(), nil)
		}
	}
	second.Must(t, 200, "POST", "/v1/admin/revocations?wait=none", admin.Auth(), map[string]any{"token": u.Token})
	f.everywhere(t, u.Auth())
	f.nats.Start(t, 0)

	// The dispatcher is killed with a revocation on its tongue; the other takes over.
	first.Login(t, &u)
	first.Must(t, 200, "POST", "/v1/admin/revocations?wait=none", admin.Auth(), map[string]any{"token": u.Token})
	first.Kill()
	f.everywhere(t, u.Auth())
	second.Login(t, &u)
	for _, r := range f.resources {
		r.Must(t, 200, "GET", "/v1/whoami", u.Auth(), nil)
		r.Eventually(t, "GET", "/v1/whoami/elite", u.Auth(), system.Status(200, ""))
	}
}
