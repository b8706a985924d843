package faults

import (
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/test/system"
)

// pointKinds end and freeze the dispatcher at each point that an event passes, of both set-ups. Their time begins when
// the point is reached.
var pointKinds = []kind{
	{name: "kill authsvc between commit and numbering", weight: 1, do: fromWhole(killAt("committed"))},
	{name: "kill authsvc between numbering and its commit", weight: 1, do: fromWhole(killAt("numbering"))},
	{name: "kill authsvc between numbering and core publish", weight: 1, do: fromWhole(killAt("numbered"))},
	{name: "kill authsvc between core and stream publish", weight: 1, do: fromWhole(killAt("live"))},
	{name: "kill authsvc between publish and marking", weight: 1, do: fromWhole(killAt("stored"))},
	{name: "freeze authsvc inside its numbering transaction", weight: 1, do: freezeAt("numbering")},
	{name: "freeze authsvc between numbering and core publish", weight: 1, do: freezeAt("numbered")},
	{name: "freeze authsvc between core and stream publish", weight: 1, do: freezeAt("live")},
}

// killAt kills the authsvc that comes to a point, and of two the other one as well as often as not.
func killAt(point string) func(*Injector) Fault {
	return func(j *Injector) Fault {
		dead, began := j.endAt(point)
		f := Fault{Span: Span{Begin: began}, Spared: len(j.Auth) > 1}
		if f.Spared && j.rng.IntN(2) == 0 {
			f.Spared, f.Name = false, ", and the other one"
			for _, a := range j.Auth {
				a.Kill()
			}
		}
		f.Waiting = j.waiting()
		for _, a := range j.Auth {
			if a == dead || !f.Spared {
				j.restart(a)
			}
		}
		return f
	}
}

// endAt lets an authsvc die at a point. Either it kills itself there; or it stands still until a call has returned that
// doesn't wait for publication, so that there is something to lose, and dies then.
func (j *Injector) endAt(point string) (*system.Auth, time.Duration) {
	what := "kill"
	if point != "committed" && j.rng.IntN(2) == 0 { // there it is a call that stands still, and nobody is kept from numbering
		what = "hold"
	}
	a, began := j.await(point, what)
	if what == "hold" {
		j.changeWithin(returning)
	}
	a.Kill()
	j.points.release(point)
	return a, began
}

// returning is how long a call may take to return after its event was committed. A dispatcher in its transaction is given
// up by the database only later.
const returning = 150 * time.Millisecond

// freezeAt freezes the authsvc that comes to a point, longer and shorter than the bound.
func freezeAt(point string) func(*Injector) Fault {
	return func(j *Injector) Fault {
		a, began := j.await(point, "stop")
		d := j.hold()
		j.wait(d)
		a.Thaw()
		return Fault{Span: Span{Begin: began}, Name: lasting(d), Spared: len(j.Auth) > 1 && j.Bound >= noticed}
	}
}

// await asks for something at a point, and returns who has come there, and when.
func (j *Injector) await(point, what string) (*system.Auth, time.Duration) {
	j.t.Helper()
	j.points.ask(j.t, point, what)
	pid := j.points.await(j.t, point)
	began := j.Recorder.Now()
	for _, a := range j.Auth {
		if a.PID() == pid {
			return a, began
		}
	}
	j.t.Fatalf("process %d, which none of these is, has come to the point %s", pid, point)
	return nil, 0
}

// fromWhole lets a fault begin when every instance has a proof of the last second. The system has to live with the loss of
// one dispatcher without refusing anybody, which takes it up to two seconds: not with that of each successor in turn.
func fromWhole(do func(*Injector) Fault) func(*Injector) Fault {
	return func(j *Injector) Fault {
		for limit := time.Now().Add(patience); !j.whole(); j.wait(10 * time.Millisecond) {
			if time.Now().After(limit) {
				j.t.Fatal("not every instance is fresh")
			}
		}
		began := j.Recorder.Now()
		f := do(j)
		f.Begin = max(f.Begin, began)
		return f
	}
}

func (j *Injector) whole() bool {
	return len(j.Auth) == 1 || !slices.ContainsFunc(j.Resources, func(r *Resource) bool {
		said, ok := j.sample(j.t.Context(), r)
		return !ok || !said.Fresh || said.Age > time.Second
	})
}
