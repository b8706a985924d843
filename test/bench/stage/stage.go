// Package stage sets up the systems that are measured: one authsvc on SQLite with its embedded bus; what production looks
// like, two authsvc on PostgreSQL with a bus of three nodes; and one in which each part is a process of its own.
package stage

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/fleet"
	"github.com/tocsin-auth/tocsin/test/faults"
	"github.com/tocsin-auth/tocsin/test/natstest"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

// service is the name of the fleet's users of the bus.
const service = "resourcesvc"

// Stage is a running system.
type Stage struct {
	Auth        []*system.Auth
	Issuer      string
	Credentials string   // of verifiers
	Bus         []string // host and port of each node
	DatabaseURL string   // as authsvc is given it

	// Of the cluster, and of Apart, only:
	Nodes    *natstest.Cluster
	NATS     *natstest.Process // of Apart only
	Postgres *pgtest.Server
	Database *faults.Proxy     // of all authsvc: the server listens elsewhere after a restart
	AuthBus  [][]*faults.Proxy // of each authsvc to each node, if faults are wanted
}

// environment is that of every authsvc: tokens outlive the run.
func environment() map[string]string {
	return map[string]string{"TOCSIN_ACCESS_TTL": "4h", "TOCSIN_LOG_LEVEL": "info"}
}

// Single starts one authsvc on SQLite.
func Single(t testing.TB) *Stage {
	t.Helper()
	a := system.StartAuth(t, environment())
	return &Stage{Auth: []*system.Auth{a}, Issuer: a.Issuer, Credentials: a.ResourceEnv(t)["TOCSIN_NATS_CREDS"],
		Bus: []string{strings.TrimPrefix(a.NATSURL, "nats://")}, DatabaseURL: "sqlite:" + filepath.Join(a.DataDir, "tocsin.db")}
}

// Cluster starts two authsvc on PostgreSQL and three nodes. With faults, every connection of authsvc goes through a proxy;
// without, none does.
func Cluster(t testing.TB, withFaults bool) *Stage {
	t.Helper()
	s := &Stage{Nodes: natstest.Layout{Services: []string{service}, Unadvertised: withFaults}.Start(t)}
	for i := range natstest.Nodes {
		s.Bus = append(s.Bus, strings.TrimPrefix(s.Nodes.NodeURL(i), "nats://"))
	}
	s.Credentials = s.Nodes.SeedFile(service)
	env := environment()
	maps.Copy(env, map[string]string{
		"TOCSIN_NATS_CREDS":       s.Nodes.SeedFile(natstest.AuthFeed),
		"TOCSIN_NATS_REPLY_CREDS": s.Nodes.SeedFile(natstest.AuthReply),
		"TOCSIN_STREAM_REPLICAS":  "3",
		"TOCSIN_SECRETS_KEY":      secret(),
		"TOCSIN_DATABASE_URL":     s.database(t, withFaults),
	})
	issuer := faults.StartProxy(t) // what a load balancer is
	s.Issuer = "http://" + issuer.Addr()
	env["TOCSIN_ISSUER"] = s.Issuer
	var hosts []string
	for range 2 {
		s.startAuth(t, env, withFaults)
		hosts = append(hosts, strings.TrimPrefix(s.Auth[len(s.Auth)-1].Base, "http://"))
	}
	issuer.Aim(hosts...)
	return s
}

// Apart starts one authsvc and one node of the bus, each in a process of its own, so that what each costs can be told apart.
func Apart(t testing.TB, postgres bool) *Stage {
	t.Helper()
	s := &Stage{NATS: natstest.StartProcess(t, service)}
	s.Bus, s.Credentials = []string{s.NATS.Host()}, s.NATS.SeedFile(service)
	env := environment()
	maps.Copy(env, map[string]string{
		"TOCSIN_NATS_URL":         "nats://" + s.NATS.Host(),
		"TOCSIN_NATS_CREDS":       s.NATS.SeedFile(natstest.AuthFeed),
		"TOCSIN_NATS_REPLY_CREDS": s.NATS.SeedFile(natstest.AuthReply),
	})
	if postgres {
		env["TOCSIN_SECRETS_KEY"], env["TOCSIN_DATABASE_URL"] = secret(), s.database(t, false)
	}
	s.Auth = []*system.Auth{system.StartAuth(t, env)}
	s.Issuer = s.Auth[0].Issuer
	return s
}

func secret() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// database starts a server of this run alone.
func (s *Stage) database(t testing.TB, withFaults bool) string {
	t.Helper()
	server, u := pgtest.Private(t)
	t.Cleanup(func() { server.Stop() })
	s.Postgres = server
	if withFaults {
		s.Database = faults.StartProxy(t, u.Host)
		u.Host = s.Database.Addr()
	}
	s.DatabaseURL = u.String()
	return s.DatabaseURL
}

func (s *Stage) startAuth(t testing.TB, env map[string]string, withFaults bool) {
	t.Helper()
	own, bus := maps.Clone(env), URL(s.Bus)
	if withFaults {
		var proxies []*faults.Proxy
		proxies, bus = s.Way(t)
		s.AuthBus = append(s.AuthBus, proxies)
	}
	own["TOCSIN_HTTP_ADDR"], own["TOCSIN_NATS_URL"] = system.FreeAddr(t), bus
	s.Auth = append(s.Auth, system.StartAuth(t, own))
}

// Way makes one process's own way to each node of the bus, and its URL.
func (s *Stage) Way(t testing.TB) (proxies []*faults.Proxy, bus string) {
	t.Helper()
	var hosts []string
	for _, node := range s.Bus {
		p := faults.StartProxy(t, node)
		proxies, hosts = append(proxies, p), append(hosts, p.Addr())
	}
	return proxies, URL(hosts)
}

// URL makes a URL list of nodes.
func URL(hosts []string) string { return "nats://" + strings.Join(hosts, ",nats://") }

// Fleet starts a fleet of some verifiers without proxies.
func (s *Stage) Fleet(t testing.TB, size int, bound time.Duration) *fleet.Fleet {
	t.Helper()
	urls := make([]string, size)
	for i := range urls {
		urls[i] = URL(s.Bus)
	}
	return fleet.Start(t, fleet.Config{Issuer: s.Issuer, Credentials: s.Credentials, URLs: urls, Bound: bound})
}

// Refresh changes a user's tokens for new ones, which costs less than to log in.
func Refresh(t testing.TB, a *system.Auth, u *system.User) {
	t.Helper()
	var got struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	a.Must(t, 200, "POST", "/v1/token/refresh", "", map[string]string{"refresh_token": u.RefreshToken}).Into(t, &got)
	u.Token, u.RefreshToken = got.AccessToken, got.RefreshToken
}
