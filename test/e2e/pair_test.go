package e2e

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"net/url"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/faults"
	"github.com/tocsin-auth/tocsin/test/natstest"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

// failoverBound is B of the services.
const failoverBound = 4 * time.Second

// pair is two authsvc and two services on a PostgreSQL that has a synchronous standby, until it fails over.
type pair struct {
	nats             *natstest.Server
	primary, standby *pgtest.Server
	proxies          []*faults.Proxy // of each authsvc to PostgreSQL
	auth             []*system.Auth
	resources        []*system.Resource
}

// startPair starts everything; hosts returns what the URL of the database names as its hosts, for each authsvc.
func startPair(t *testing.T, hosts func(p *pair) string) *pair {
	t.Helper()
	p := &pair{nats: natstest.Start(t, "resourcesvc")}
	database := p.startPostgres(t)
	secret := make([]byte, 32)
	rand.Read(secret)
	env := map[string]string{"TOCSIN_NATS_URL": p.nats.URL(), "TOCSIN_NATS_CREDS": p.nats.SeedFile(natstest.AuthFeed),
		"TOCSIN_NATS_REPLY_CREDS": p.nats.SeedFile(natstest.AuthReply), "TOCSIN_SECRETS_KEY": hex.EncodeToString(secret)}
	for range 2 {
		own, through := maps.Clone(env), *database
		through.Host = hosts(p)
		own["TOCSIN_DATABASE_URL"] = through.String()
		a := system.StartAuth(t, own)
		env["TOCSIN_ISSUER"] = a.Issuer
		p.auth = append(p.auth, a)
	}
	for range 2 {
		p.resources = append(p.resources, p.startResource(t))
	}
	return p
}

func (p *pair) startResource(t *testing.T) *system.Resource {
	t.Helper()
	return system.StartResource(t, p.auth[0], map[string]string{"TOCSIN_NATS_CREDS": p.nats.SeedFile("resourcesvc"),
		"TOCSIN_MAX_STALENESS": failoverBound.String()})
}

func (p *pair) startPostgres(t *testing.T) (database *url.URL) {
	t.Helper()
	p.primary, database = pgtest.Private(t)
	t.Cleanup(func() {
		p.primary.Stop() // whichever it is by then
		if p.standby != nil {
			p.standby.Stop()
		}
	})
	p.follow(t)
	return database
}

// follow makes a synchronous standby.
func (p *pair) follow(t *testing.T) {
	t.Helper()
	var err error
	p.standby, err = p.primary.Standby(t.Context())
	must(t, err)
}

// proxied is for [startPair]: each authsvc reaches PostgreSQL by a proxy, as by a service's address that moves.
func proxied(t *testing.T) func(p *pair) string {
	return func(p *pair) string {
		proxy := faults.StartProxy(t, p.primary.Addr())
		p.proxies = append(p.proxies, proxy)
		return proxy.Addr()
	}
}

// fence makes sure that the primary has said its last word, and promote makes the standby take its place.
func (p *pair) fence(t *testing.T) {
	t.Helper()
	must(t, p.primary.Crash())
}

func (p *pair) promote(t *testing.T) (ended time.Time) {
	t.Helper()
	must(t, p.standby.Promote(t.Context()))
	ended = time.Now()
	for _, proxy := range p.proxies {
		proxy.Aim(p.standby.Addr())
	}
	return ended
}

// succeed lets the standby be the primary, and removes what is left of the old one.
func (p *pair) succeed(t *testing.T) {
	t.Helper()
	must(t, p.primary.Stop())
	p.primary, p.standby = p.standby, nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
