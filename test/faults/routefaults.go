package faults

import "github.com/tocsin-auth/tocsin/test/natstest"

// routeKinds are the faults between NATS nodes. Whoever is connected to a node that is cut off has a healthy connection,
// and hears nothing.
var routeKinds = []kind{
	{name: "isolate a NATS node", weight: 1, do: (*Injector).isolateNode},
	{name: "isolate the stream's leader together with a resource service", weight: 2, do: (*Injector).isolateLeaderWithResource},
	{name: "isolate a NATS node together with an authsvc", weight: 2, do: (*Injector).isolateNodeWithAuth},
	{name: "isolate a NATS node together with an authsvc and a resource service", weight: 1, do: (*Injector).isolateNodeWithBoth},
	{name: "black hole between all NATS nodes", weight: 1, do: (*Injector).isolateEveryNode},
	{name: "cut connections between the NATS nodes", weight: 1, do: (*Injector).cutRoutes},
}

func (j *Injector) isolateNode() Fault { return j.isolateWith(j.rng.IntN(natstest.Nodes)) }

// isolateLeaderWithResource leaves a verifier with a leader that goes on answering from a stream that has stood still.
func (j *Injector) isolateLeaderWithResource() Fault {
	return j.isolateWith(j.streamLeader(), j.resource().bus)
}

func (j *Injector) isolateNodeWithAuth() Fault {
	i, _ := j.anAuth()
	return j.isolateWith(j.rng.IntN(natstest.Nodes), j.authBus[i])
}

func (j *Injector) isolateNodeWithBoth() Fault {
	i, _ := j.anAuth()
	return j.isolateWith(j.rng.IntN(natstest.Nodes), j.authBus[i], j.resource().bus)
}

// isolateWith cuts a node off from the others, in one direction or both, together with processes that can reach no other.
func (j *Injector) isolateWith(node int, clients ...[]*Proxy) Fault {
	for _, bus := range clients {
		j.confine(bus, node)
	}
	if len(clients) > 0 {
		j.wait(regroup)
	}
	out, in, direction := j.direction()
	d, began := j.hold(), j.Recorder.Now()
	j.routes.isolate(node, out, in)
	j.wait(d)
	j.routes.isolate(node, false, false)
	for _, bus := range clients {
		j.release(bus)
	}
	return Fault{Span: Span{Begin: began}, Name: ": " + j.nats.NodeName(node) + direction + lasting(d)}
}

// direction draws both ways as often as one of the two.
func (j *Injector) direction() (out, in bool, name string) {
	switch j.rng.IntN(4) {
	case 0:
		return true, false, " isn't heard"
	case 1:
		return false, true, " hears nothing"
	}
	return true, true, ""
}

func (j *Injector) isolateEveryNode() Fault {
	d := j.hold()
	for node := range natstest.Nodes {
		j.routes.isolate(node, true, true)
	}
	j.wait(d)
	for node := range natstest.Nodes {
		j.routes.isolate(node, false, false)
	}
	return Fault{Name: lasting(d)}
}

// cutRoutes loses what was on its way from node to node. The system is whole when the nodes have each other again, which
// they try after a second.
func (j *Injector) cutRoutes() Fault {
	j.routes.cutAll()
	j.wait(2 * regroup)
	return Fault{}
}
