package faults

import (
	"os"
	"path/filepath"
	"syscall"
)

// singleKinds are the faults of the one authsvc and its embedded bus.
var singleKinds = []kind{
	{name: "kill authsvc", weight: 2, do: (*Injector).killOnlyAuth},
	{name: "kill authsvc after a change", weight: 3, do: (*Injector).killOnlyAuthAfterChange},
	{name: "restart authsvc", weight: 2, do: (*Injector).restartOnlyAuth},
	{name: "freeze authsvc", weight: 3, do: (*Injector).freezeOnlyAuth},
	{name: "kill authsvc and wipe the stream", weight: 2, do: (*Injector).wipeStream},
}

func (j *Injector) killOnlyAuth() Fault {
	a := j.Auth[0]
	a.Kill()
	j.wait(j.between(0, j.Bound))
	j.restart(a)
	return Fault{}
}

func (j *Injector) killOnlyAuthAfterChange() Fault {
	j.onChange()
	began := j.Recorder.Now()
	a := j.Auth[0]
	a.Kill()
	left := j.waiting()
	j.restart(a)
	return Fault{Span: Span{Begin: began}, Waiting: left}
}

func (j *Injector) restartOnlyAuth() Fault {
	a := j.Auth[0]
	a.Stop(j.t)
	j.restart(a)
	return Fault{}
}

func (j *Injector) freezeOnlyAuth() Fault {
	a, d := j.Auth[0], j.hold()
	a.Signal(syscall.SIGSTOP)
	j.wait(d)
	a.Signal(syscall.SIGCONT)
	return Fault{Name: lasting(d)}
}

func (j *Injector) wipeStream() Fault {
	a := j.Auth[0]
	a.Kill()
	if err := os.RemoveAll(filepath.Join(a.DataDir, "nats", "jetstream")); err != nil {
		j.t.Fatal(err)
	}
	j.restart(a)
	return Fault{}
}
