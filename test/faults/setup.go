package faults

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

// System is the processes of a set-up and the connections between them.
type System struct {
	Name      string
	Auth      []*system.Auth
	Resources []*Resource
	Recorder  *Recorder
	bound     time.Duration
	beat      *machine.Beat

	points points
	clocks *clocks
	// What is taken away, as TOCSIN_DEFECTS names it.
	authDefects, resourceDefects string

	memory *Memory // of all connections to the bus

	// Of the cluster only:
	nats     *natstest.Cluster
	postgres *pgtest.Server
	standby  *pgtest.Server // of it, while there is one
	former   *pgtest.Server // what it was before it failed over, dead
	path     string         // of the database in it
	database []*Proxy       // of each authsvc to PostgreSQL
	authBus  [][]*Proxy     // of each authsvc to each NATS node
	issuer   *Proxy         // what a load balancer is
	routes   routes         // between the NATS nodes
}

// Resource is a resource service and its connections to the bus, one to each node.
type Resource struct {
	*system.Resource
	Instance string
	bus      []*Proxy
	file     string // its database
}

// SetUps are the systems that can be started.
var SetUps = map[string]func(*System, testing.TB){"single": (*System).single, "cluster": (*System).cluster}

// accessTTL is longer than any run, so that a dead token that comes back is seen to.
const accessTTL = "4h"

func authEnv() map[string]string {
	return map[string]string{"TOCSIN_ACCESS_TTL": accessTTL, "TOCSIN_LOG_LEVEL": "info"}
}

// single starts one authsvc on SQLite with its embedded NATS, and two resource services.
func (s *System) single(t testing.TB) {
	a := s.startAuth(t, authEnv())
	s.Auth = []*system.Auth{a}
	for i := range 2 {
		bus := StartBusProxy(t, s.memory, strings.TrimPrefix(a.NATSURL, "nats://"))
		s.startResource(t, i, []*Proxy{bus}, nil)
	}
}

// cluster starts what production looks like: two authsvc on one PostgreSQL, three NATS nodes, three resource services.
func (s *System) cluster(t testing.TB) {
	s.startNATS(t)
	database := s.startPostgres(t)
	secret := make([]byte, 32)
	rand.Read(secret)
	env := authEnv()
	maps.Copy(env, map[string]string{
		"TOCSIN_NATS_CREDS":       s.nats.SeedFile(natstest.AuthFeed),
		"TOCSIN_NATS_REPLY_CREDS": s.nats.SeedFile(natstest.AuthReply),
		"TOCSIN_STREAM_REPLICAS":  "3",
		"TOCSIN_SECRETS_KEY":      hex.EncodeToString(secret),
	})
	s.issuer = StartProxy(t)
	env["TOCSIN_ISSUER"] = "http://" + s.issuer.Addr()
	for range 2 {
		addr := system.FreeAddr(t)
		nodes, pg := s.nodes(t), StartProxy(t, database.Host)
		s.authBus, s.database = append(s.authBus, nodes), append(s.database, pg)
		own, through := maps.Clone(env), *database
		through.Host = pg.Addr()
		own["TOCSIN_HTTP_ADDR"], own["TOCSIN_DATABASE_URL"], own["TOCSIN_NATS_URL"] = addr, through.String(), urls(nodes)
		s.Auth = append(s.Auth, s.startAuth(t, own))
	}
	s.issuer.Aim(host(s.Auth[0]), host(s.Auth[1]))
	for i := range 3 {
		s.startResource(t, i, s.nodes(t), map[string]string{"TOCSIN_NATS_CREDS": s.nats.SeedFile("resourcesvc")})
	}
}

// startPostgres starts a server of this run alone, since it will be restarted, and returns its database's URL.
func (s *System) startPostgres(t testing.TB) (database *url.URL) {
	t.Helper()
	s.postgres, database = pgtest.Private(t)
	t.Cleanup(func() {
		for _, one := range []*pgtest.Server{s.postgres, s.standby, s.former} {
			if one != nil {
				one.Stop()
			}
		}
	})
	s.path = database.Path
	return database
}

// databaseURL leads to authsvc's database without a proxy.
func (s *System) databaseURL() string {
	u, _ := url.Parse(s.postgres.URL()) // it was made by a URL's String
	u.Path = s.path
	return u.String()
}

// nodes makes one process's connections to all NATS nodes.
func (s *System) nodes(t testing.TB) []*Proxy {
	var all []*Proxy
	for i := range natstest.Nodes {
		all = append(all, StartBusProxy(t, s.memory, strings.TrimPrefix(s.nats.NodeURL(i), "nats://")))
	}
	return all
}

func urls(nodes []*Proxy) string {
	var all []string
	for _, p := range nodes {
		all = append(all, "nats://"+p.Addr())
	}
	return strings.Join(all, ",")
}

func host(a *system.Auth) string { return strings.TrimPrefix(a.Base, "http://") }

// startResource prepares a resource service, starts it and records that.
func (s *System) startResource(t testing.TB, i int, bus []*Proxy, env map[string]string) {
	t.Helper()
	r := &Resource{Instance: fmt.Sprintf("resource%d", i+1), bus: bus, file: filepath.Join(t.TempDir(), "resource.db")}
	all := map[string]string{
		"TOCSIN_NATS_URL":      urls(bus),
		"TOCSIN_INSTANCE":      r.Instance,
		"TOCSIN_MAX_STALENESS": s.bound.String(),
		"TOCSIN_DATABASE_URL":  "sqlite:" + r.file,
	}
	maps.Copy(all, env)
	r.Resource = system.PrepareResource(t, s.Auth[0], all)
	dir, err := system.BuildDefective(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.Use(filepath.Join(dir, "resourcesvc"), s.clocks.environment(r.Instance), "TOCSIN_DEFECTS="+s.resourceDefects)
	s.Resources = append(s.Resources, r)
	s.launch(t, r)
	s.ready(t, r)
}

// launch starts a resource service that isn't running.
func (s *System) launch(t testing.TB, r *Resource) {
	t.Helper()
	began := s.Recorder.Now()
	r.Start(t)
	s.Recorder.Add(Start{Span: Span{Begin: began, End: began}, Instance: r.Instance})
}

func (s *System) ready(t testing.TB, r *Resource) {
	t.Helper()
	r.WaitReady(t, r.Base+"/readyz")
}
