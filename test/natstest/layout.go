package natstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/test/pgtest/loopback"
)

// Operator is a user of authsvc's account who may do anything there. No shipped configuration has one; it does to the
// stream what an administrator of NATS could.
const Operator = "operator"

// deadAddress is where nobody listens. Nodes whose routes are given tell each other this address, so that they take no
// others.
const deadAddress = "127.0.0.1:1"

// Layout is how a cluster differs from what [StartCluster] makes.
type Layout struct {
	// Services have an account each. Default: the one of the shipped file.
	Services []string
	// Unadvertised nodes don't tell clients of each other: clients stay with the addresses that they were given, which
	// may be a proxy's.
	Unadvertised bool
	// Route returns where a node finds another one, whose own address is target. Default: there. Every connection
	// between two nodes goes one of these two ways, whoever began it.
	Route func(from, to int, target string) string
	// Operator adds that user.
	Operator bool
}

// StartCluster starts a cluster with the permission set that ships and these services, and returns when JetStream is ready
// on every node. The test's end stops it.
func StartCluster(t testing.TB, services ...string) *Cluster {
	t.Helper()
	return Layout{Services: services}.Start(t)
}

// Start starts a cluster with the permission set that ships, and returns when JetStream is ready on every node. The test's
// end stops it.
func (l Layout) Start(t testing.TB) *Cluster {
	t.Helper()
	if len(l.Services) == 0 {
		l.Services = []string{shippedService}
	}
	dir := t.TempDir()
	users := l.Services
	if l.Operator {
		users = append([]string{Operator}, users...)
	}
	c := &Cluster{keys: makeKeys(t, dir, users), file: filepath.Join(dir, "nats.conf")}
	if err := os.WriteFile(c.file, []byte(l.configuration(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	var listen [Nodes]string
	for i := range listen {
		listen[i] = fmt.Sprintf("127.0.0.1:%d", loopback.Free(t))
	}
	for i := range c.nodes {
		n := &node{client: loopback.Free(t), log: filepath.Join(dir, fmt.Sprintf("n%d.log", i+1)), store: filepath.Join(dir, fmt.Sprintf("n%d", i+1))}
		n.env = append(os.Environ(),
			childVariable+"="+c.file,
			"TOCSIN_NATS_NAME="+c.NodeName(i),
			fmt.Sprintf("TOCSIN_NATS_CLIENT=127.0.0.1:%d", n.client),
			"TOCSIN_NATS_CLUSTER="+listen[i],
			"TOCSIN_NATS_ROUTES=["+strings.Join(l.routes(i, listen), ", ")+"]",
			"TOCSIN_NATS_STORE="+n.store)
		for name, public := range c.env {
			n.env = append(n.env, name+"="+public)
		}
		c.nodes[i] = n
		t.Cleanup(n.kill)
		n.start(t, Nodes)
	}
	c.WaitReady(t)
	return c
}

// configuration is the shipped file with what this layout adds to it.
func (l Layout) configuration(t testing.TB) string {
	const cluster, users = "\ncluster {\n", "    users: [\n"
	text := shipped(t, l.Services)
	if l.Unadvertised {
		text = after(t, text, cluster, "  no_advertise: true\n")
	}
	if l.Route != nil {
		text = after(t, text, cluster, fmt.Sprintf("  advertise: %q\n", deadAddress))
	}
	if l.Operator {
		text = after(t, text, users, "      { nkey: "+variable(Operator)+" }\n") // authsvc's account is the first
	}
	return text
}

// after puts a line behind the first place of a mark.
func after(t testing.TB, text, mark, line string) string {
	before, rest := cut(t, text, mark)
	return before + mark + line + rest
}

// routes are the addresses by which a node finds the others; the shipped example names all nodes, so its own is among them
// unless routes are given.
func (l Layout) routes(from int, listen [Nodes]string) []string {
	var all []string
	for to, target := range listen {
		if l.Route != nil {
			if to == from {
				continue
			}
			target = l.Route(from, to, target)
		}
		all = append(all, fmt.Sprintf("%q", "nats://"+target))
	}
	return all
}
