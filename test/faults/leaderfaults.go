package faults

import "github.com/tocsin-auth/tocsin/test/natstest"

// leaderKinds are the losses of exactly the node that leads the stream, and of the nodes that make a majority.
var leaderKinds = []kind{
	{name: "kill the stream's leader", weight: 2, do: (*Injector).killLeader},
	{name: "freeze the stream's leader", weight: 2, do: (*Injector).freezeLeader},
	{name: "freeze two NATS nodes", weight: 1, do: (*Injector).freezeQuorum},
}

func (j *Injector) killLeader() Fault {
	leader := j.streamLeader()
	began := j.Recorder.Now()
	j.restartNodes(func(i int) bool { return i == leader }, false)
	return Fault{Span: Span{Begin: began}, Name: ": " + j.nats.NodeName(leader), Spared: true}
}

func (j *Injector) freezeLeader() Fault {
	leader, d := j.streamLeader(), j.hold()
	began := j.Recorder.Now()
	j.nats.Freeze(j.t, leader)
	j.wait(d)
	j.nats.Thaw(j.t, leader)
	return Fault{Span: Span{Begin: began}, Name: ": " + j.nats.NodeName(leader) + lasting(d), Spared: j.Bound >= noticed}
}

func (j *Injector) freezeQuorum() Fault {
	spare, d := j.rng.IntN(natstest.Nodes), j.hold()
	for i := range natstest.Nodes {
		if i != spare {
			j.nats.Freeze(j.t, i)
		}
	}
	j.wait(d)
	for i := range natstest.Nodes {
		if i != spare {
			j.nats.Thaw(j.t, i)
		}
	}
	return Fault{Name: lasting(d)}
}
