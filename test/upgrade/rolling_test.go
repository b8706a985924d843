// Package upgrade shows that everything can be replaced one after the other under load: by restarts of the whole fleet, by
// a database that a newer program has migrated, and by messages and questions of newer programs.
package upgrade

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/natstest"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

func TestMain(m *testing.M) {
	code := pgtest.Run(m) // and natstest, when this process is one of its nodes
	system.RemoveBuild()
	os.Exit(code)
}

// bound is B of the services here: longer than what a restart of anything may take, shorter than the test.
const bound = 10 * time.Second

func tokenOf(login system.Answer) string {
	var s struct {
		AccessToken string `json:"access_token"`
	}
	_ = json.Unmarshal(login.Body, &s) // no token shows as a refusal
	return system.Bearer(s.AccessToken)
}

// fleet is what production looks like: replicas on one PostgreSQL and a three-node NATS cluster, one issuer.
type fleet struct {
	nats      *natstest.Cluster
	database  string
	env       map[string]string // of authsvc
	auth      []*system.Auth
	resources []*system.Resource

	authBalancer, resourceBalancer balancer
}

func startFleet(t *testing.T) *fleet {
	f := &fleet{nats: natstest.StartCluster(t, "resourcesvc"), database: pgtest.URL(t)}
	secret := make([]byte, 32)
	rand.Read(secret)
	f.env = map[string]string{
		"TOCSIN_DATABASE_URL":     f.database,
		"TOCSIN_NATS_URL":         f.nats.URL(),
		"TOCSIN_NATS_CREDS":       f.nats.SeedFile("auth_feed"),
		"TOCSIN_NATS_REPLY_CREDS": f.nats.SeedFile("auth_reply"),
		"TOCSIN_STREAM_REPLICAS":  "3",
		"TOCSIN_SECRETS_KEY":      hex.EncodeToString(secret),
	}
	first := system.StartAuth(t, f.env)
	f.env = maps.Clone(f.env)
	f.env["TOCSIN_ISSUER"] = first.Issuer
	f.auth = []*system.Auth{first, system.StartAuth(t, f.env)}
	for range 2 {
		f.resources = append(f.resources, system.StartResource(t, first, map[string]string{
			"TOCSIN_NATS_CREDS":    f.nats.SeedFile("resourcesvc"),
			"TOCSIN_MAX_STALENESS": bound.String(),
		}))
	}
	for n, a := range f.auth {
		f.authBalancer = append(f.authBalancer, &instance{name: fmt.Sprintf("authsvc %d", n+1), api: a.API, in: true})
	}
	for n, r := range f.resources {
		f.resourceBalancer = append(f.resourceBalancer, &instance{name: fmt.Sprintf("resourcesvc %d", n+1), api: r.API, in: true})
	}
	return f
}

// load begins traffic of every kind.
func (f *fleet) load(t *testing.T) *traffic {
	u, v := f.auth[0].Register(t, "alice"), f.auth[0].Register(t, "bob")
	for _, r := range f.resources { // so that the key is in every cache
		r.Must(t, 200, "GET", "/v1/whoami", system.Key(u.LiveKey), nil)
	}
	tr, ctx := begin(t)
	tr.read(ctx, "token", f.resourceBalancer, "/v1/whoami", u.Auth())
	tr.read(ctx, "key", f.resourceBalancer, "/v1/whoami", system.Key(u.LiveKey))
	tr.read(ctx, "elite", f.resourceBalancer, "/v1/whoami/elite", u.Auth())
	tr.read(ctx, "me", f.authBalancer, "/v1/me", u.Auth())
	tr.comeAndGo(ctx, f.authBalancer, f.resourceBalancer, v, bound)
	return tr
}

// restart stops an instance that the balancer has let go, starts it again and lets the balancer have it when it is ready.
func restart(t *testing.T, i *instance, p *system.Process) {
	t.Helper()
	i.set(false)
	if code := p.Stop(t); code != 0 {
		t.Errorf("%s: exit %d", i.name, code)
	}
	p.Start(t)
	p.WaitReady(t, i.api.Base+"/readyz")
	i.set(true)
}

// settle waits until every service has a proof that was asked for after the call.
func (f *fleet) settle(t *testing.T) {
	t.Helper()
	for _, r := range f.resources {
		begun := time.Now()
		r.Eventually(t, "GET", "/v1/verifier", "", func(a system.Answer) bool {
			var s struct {
				Age *float64 `json:"proof_age_ms"`
			}
			return json.Unmarshal(a.Body, &s) == nil && s.Age != nil && *s.Age < float64(time.Since(begun).Milliseconds())
		})
	}
}

func TestNoCollateralOfARollingRestartOfEverything(t *testing.T) {
	f := startFleet(t)
	tr := f.load(t)
	for node := range 3 {
		tr.enter(fmt.Sprintf("NATS node %d", node+1))
		f.nats.Kill(node) // harder than an upgrade, which drains
		f.nats.Start(t, node)
		f.nats.WaitReady(t)
		f.settle(t)
	}
	for n, a := range f.auth {
		tr.enter(f.authBalancer[n].name)
		restart(t, f.authBalancer[n], a.Process)
		f.settle(t)
	}
	for n, r := range f.resources {
		tr.enter(f.resourceBalancer[n].name)
		restart(t, f.resourceBalancer[n], r.Process)
		f.settle(t)
	}
	tr.stop()
	tr.report(t)
	absent, cut := 0, 0
	for phase, n := range tr.absent {
		absent += n
		if strings.HasPrefix(phase, "NATS node") {
			cut += n
		}
	}
	// Questions wait for the connection that is made anew: only one that was on its way over a node just when it was
	// killed, and whose repetition is lost too, is refused with 503.
	if cut > 2 {
		t.Errorf("%d of %d elite calls found no authority when a NATS node was killed", cut, tr.calls["elite"])
	}
	if absent*100 > tr.calls["elite"] {
		t.Errorf("%d of %d elite calls found no authority", absent, tr.calls["elite"])
	}
}
