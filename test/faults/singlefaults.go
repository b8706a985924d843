package faults

import (
	"os"
	"path/filepath"
	"syscall"
)

// singleKinds are the faults of the one authsvc and its embedded bus.
var singleKinds = []kind{
	{"kill authsvc", 2, (*Injector).killOnlyAuth},
	{"kill authsvc after a change", 3, (*Injector).killOnlyAuthAfterChange},
	{"restart authsvc", 2, (*Injector).restartOnlyAuth},
	{"freeze authsvc", 3, (*Injector).freezeOnlyAuth},
	{"kill authsvc and wipe the stream", 2, (*Injector).wipeStream},
}

func (j *Injector) killOnlyAuth() Fault {
	a := j.Auth[0]
	a.Kill()
	j.wait(j.between(0, Bound))
	a.Restart(j.t)
	return Fault{}
}

func (j *Injector) killOnlyAuthAfterChange() Fault {
	j.onChange()
	began := j.Recorder.Now()
	a := j.Auth[0]
	a.Kill()
	a.Restart(j.t)
	return Fault{Span: Span{Begin: began}}
}

func (j *Injector) restartOnlyAuth() Fault {
	a := j.Auth[0]
	a.Stop(j.t)
	a.Restart(j.t)
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
	a.Restart(j.t)
	return Fault{}
}
