package faults

import (
	"syscall"
	"time"

	"github.com/tocsin-auth/tocsin/test/natstest"
	"github.com/tocsin-auth/tocsin/test/system"
)

// clusterKinds are the faults of replicas, of the NATS cluster and of PostgreSQL.
var clusterKinds = []kind{
	{name: "kill one authsvc", weight: 2, do: fromWhole((*Injector).killOneAuth)},
	{name: "kill one authsvc after a change", weight: 2, do: fromWhole((*Injector).killOneAuthAfterChange)},
	{name: "kill every authsvc", weight: 1, do: (*Injector).killEveryAuth},
	{name: "kill every authsvc after a change", weight: 1, do: (*Injector).killEveryAuthAfterChange},
	{name: "rolling restart of authsvc", weight: 2, do: (*Injector).rollAuth},
	{name: "rolling restart of everything", weight: 1, do: (*Injector).rollAll},
	{name: "freeze one authsvc", weight: 3, do: (*Injector).freezeOneAuth},
	{name: "kill one NATS node", weight: 2, do: (*Injector).killNode},
	{name: "freeze one NATS node", weight: 2, do: (*Injector).freezeNode},
	{name: "kill two NATS nodes", weight: 1, do: (*Injector).killQuorum},
	{name: "kill the NATS cluster and wipe its stores", weight: 1, do: (*Injector).wipeCluster},
	{name: "black hole between an authsvc and the bus", weight: 2, do: (*Injector).isolateAuth},
	{name: "one-way black hole between an authsvc and the bus", weight: 1, do: (*Injector).deafenAuth},
	{name: "black hole between an authsvc and PostgreSQL", weight: 2, do: (*Injector).isolateFromDatabase},
	{name: "black hole around PostgreSQL", weight: 1, do: (*Injector).isolateDatabase},
	{name: "delay between an authsvc and PostgreSQL", weight: 1, do: (*Injector).delayDatabase},
	{name: "restart PostgreSQL", weight: 1, do: (*Injector).restartPostgres},
	{name: "freeze one authsvc and kill one NATS node", weight: 1, do: (*Injector).freezeAuthAndKillNode},
}

func (j *Injector) anAuth() (int, *system.Auth) {
	i := j.rng.IntN(len(j.Auth))
	return i, j.Auth[i]
}

func (j *Injector) killOneAuth() Fault {
	_, a := j.anAuth()
	a.Kill()
	j.wait(j.between(0, j.Bound))
	j.restart(a)
	return Fault{Spared: true}
}

func (j *Injector) killOneAuthAfterChange() Fault {
	j.onChange()
	began := j.Recorder.Now()
	f := j.killOneAuth()
	f.Begin = began
	return f
}

func (j *Injector) killEveryAuth() Fault {
	for _, a := range j.Auth {
		a.Kill()
	}
	j.wait(j.between(0, j.Bound))
	for _, a := range j.Auth {
		j.restart(a)
	}
	return Fault{}
}

func (j *Injector) rollAuth() Fault {
	for _, a := range j.Auth {
		a.Stop(j.t)
		j.restart(a)
	}
	return Fault{Spared: true}
}

// rollAll replaces every process of Tocsin, one after the other, each when the one before is ready. Only the instance
// that is being replaced may be away.
func (j *Injector) rollAll() Fault {
	j.rollAuth()
	for _, r := range j.Resources {
		began := j.Recorder.Now()
		r.Stop(j.t)
		j.launch(j.t, r)
		j.ready(j.t, r)
		j.Recorder.Add(Fault{Span: Span{began, j.Recorder.Now()}, Kind: "part of a rolling restart", Name: "part of a rolling restart: " + r.Instance, Spared: true, Down: []string{r.Instance}})
	}
	return Fault{Spared: true}
}

func (j *Injector) freezeOneAuth() Fault {
	_, a := j.anAuth()
	d := j.hold()
	a.Signal(syscall.SIGSTOP)
	j.wait(d)
	a.Signal(syscall.SIGCONT)
	return Fault{Name: lasting(d), Spared: j.Bound >= noticed}
}

func (j *Injector) killNode() Fault {
	i := j.rng.IntN(natstest.Nodes)
	j.nats.Kill(i)
	j.wait(j.hold())
	j.nats.Start(j.t, i)
	j.nats.WaitReady(j.t)
	return Fault{Spared: true}
}

// noticed is how large B has to be for the loss of a node that is merely silent to go unnoticed: a client gives up
// on it 1.5 to 2.25 s after its last pong, and needs some time to be fresh by another one.
const noticed = 6 * time.Second

func (j *Injector) freezeNode() Fault {
	i, d := j.rng.IntN(natstest.Nodes), j.hold()
	j.nats.Freeze(j.t, i)
	j.wait(d)
	j.nats.Thaw(j.t, i)
	return Fault{Name: lasting(d), Spared: j.Bound >= noticed}
}

func (j *Injector) killQuorum() Fault {
	spare := j.rng.IntN(natstest.Nodes)
	return j.restartNodes(func(i int) bool { return i != spare }, false)
}

func (j *Injector) wipeCluster() Fault {
	return j.restartNodes(func(int) bool { return true }, true)
}

func (j *Injector) restartNodes(which func(int) bool, wipe bool) Fault {
	for i := range natstest.Nodes {
		if which(i) {
			j.nats.Kill(i)
		}
	}
	j.wait(j.hold())
	for i := range natstest.Nodes {
		if !which(i) {
			continue
		}
		if wipe {
			j.nats.Wipe(j.t, i)
		}
		j.nats.Start(j.t, i)
	}
	j.nats.WaitReady(j.t)
	return Fault{}
}

func (j *Injector) isolateAuth() Fault {
	i, _ := j.anAuth()
	return j.blackHole(j.authBus[i], true, true)
}

func (j *Injector) deafenAuth() Fault {
	i, _ := j.anAuth()
	to := j.rng.IntN(2) == 0
	return j.blackHole(j.authBus[i], to, !to)
}

func (j *Injector) isolateFromDatabase() Fault {
	i, _ := j.anAuth()
	return j.blackHole(j.database[i:i+1], true, true)
}

func (j *Injector) isolateDatabase() Fault { return j.blackHole(j.database, true, true) }

func (j *Injector) blackHole(proxies []*Proxy, to, from bool) Fault {
	d := j.hold()
	hold(proxies, to, from)
	j.wait(d)
	hold(proxies, false, false)
	return Fault{Name: lasting(d)}
}

func (j *Injector) delayDatabase() Fault {
	i, _ := j.anAuth()
	d, late := j.hold(), j.between(5*time.Millisecond, 200*time.Millisecond)
	delay(j.database[i:i+1], late)
	j.wait(d)
	delay(j.database[i:i+1], 0)
	return Fault{Name: lasting(d) + " by " + late.Round(time.Millisecond).String()}
}

func (j *Injector) restartPostgres() Fault {
	if err := j.postgres.Restart(j.t.Context()); err != nil {
		j.t.Fatal(err)
	}
	return Fault{}
}

func (j *Injector) freezeAuthAndKillNode() Fault {
	_, a := j.anAuth()
	i := j.rng.IntN(natstest.Nodes)
	a.Signal(syscall.SIGSTOP)
	j.nats.Kill(i)
	j.wait(j.hold())
	a.Signal(syscall.SIGCONT)
	j.nats.Start(j.t, i)
	j.nats.WaitReady(j.t)
	return Fault{}
}
