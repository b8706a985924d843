package faults

import (
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/natstest"
)

// routes are the connections between the NATS nodes, by who began them and whereto.
type routes [natstest.Nodes][natstest.Nodes]*Proxy

// startNATS starts a cluster whose clients and nodes meet through proxies only.
func (s *System) startNATS(t testing.TB) {
	s.nats = natstest.Layout{
		Services: []string{"resourcesvc"}, Unadvertised: true, Operator: true,
		Route: func(from, to int, target string) string {
			s.routes[from][to] = StartProxy(t, target)
			return s.routes[from][to].Addr()
		},
	}.Start(t)
}

// hold keeps back what one node sends to another, what that sends back, or both.
func (r *routes) hold(from, to int, there, back bool) {
	r[from][to].Hold(there, back)
	r[to][from].Hold(back, there)
}

// isolate keeps back what a node sends to all others, what they send to it, or both.
func (r *routes) isolate(node int, out, in bool) {
	for peer := range r {
		if peer != node {
			r.hold(node, peer, out, in)
		}
	}
}

// cutAll ends every connection between nodes; they make new ones.
func (r *routes) cutAll() {
	for from := range r {
		for to, p := range r[from] {
			if to != from {
				p.Cut()
			}
		}
	}
}

// regroup is how long a client of NATS takes to connect again when its connection was cut.
const regroup = time.Second

// confine lets a process reach one NATS node only, whatever address it chooses.
func (s *System) confine(bus []*Proxy, node int) {
	for _, p := range bus {
		p.Aim(strings.TrimPrefix(s.nats.NodeURL(node), "nats://"))
		p.Cut()
	}
}

// release lets it reach all of them again. It stays where it is until that connection ends.
func (s *System) release(bus []*Proxy) {
	for i, p := range bus {
		p.Aim(strings.TrimPrefix(s.nats.NodeURL(i), "nats://"))
	}
}
