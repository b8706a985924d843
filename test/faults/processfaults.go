package faults

import (
	"syscall"
	"time"
)

// processKinds are the faults of both set-ups.
var processKinds = []kind{
	{name: "kill a resource service", weight: 2, do: (*Injector).killResource},
	{name: "restart a resource service", weight: 1, do: (*Injector).restartResource},
	{name: "freeze a resource service", weight: 3, do: (*Injector).freezeResource},
	{name: "black hole between a resource service and the bus", weight: 3, do: (*Injector).isolateResource},
	{name: "one-way black hole between a resource service and the bus", weight: 2, do: (*Injector).deafenResource},
	{name: "delay between a resource service and the bus", weight: 1, do: (*Injector).delayResource},
	{name: "cut connections of a resource service", weight: 1, do: (*Injector).cutResource},
	{name: "start a resource service without the bus", weight: 1, do: (*Injector).startIsolated, alone: true},
}

func (j *Injector) killResource() Fault {
	r := j.resource()
	r.Kill()
	j.wait(j.between(0, time.Second))
	j.launch(j.t, r)
	j.ready(j.t, r)
	return Fault{Name: ": " + r.Instance, Down: []string{r.Instance}}
}

func (j *Injector) restartResource() Fault {
	r := j.resource()
	r.Stop(j.t)
	j.launch(j.t, r)
	j.ready(j.t, r)
	return Fault{Name: ": " + r.Instance, Down: []string{r.Instance}}
}

func (j *Injector) freezeResource() Fault {
	r, d := j.resource(), j.hold()
	r.Signal(syscall.SIGSTOP)
	j.wait(d)
	r.Signal(syscall.SIGCONT)
	return Fault{Name: ": " + r.Instance + lasting(d), Frozen: []string{r.Instance}}
}

func (j *Injector) isolateResource() Fault {
	r, d := j.resource(), j.hold()
	hold(r.bus, true, true)
	j.wait(d)
	hold(r.bus, false, false)
	return Fault{Name: ": " + r.Instance + lasting(d)}
}

func (j *Injector) deafenResource() Fault {
	r, d, to := j.resource(), j.hold(), j.rng.IntN(2) == 0
	hold(r.bus, to, !to)
	j.wait(d)
	hold(r.bus, false, false)
	return Fault{Name: ": " + r.Instance + lasting(d)}
}

func (j *Injector) delayResource() Fault {
	r, d, late := j.resource(), j.hold(), j.between(5*time.Millisecond, 300*time.Millisecond)
	delay(r.bus, late)
	j.wait(d)
	delay(r.bus, 0)
	return Fault{Name: ": " + r.Instance + lasting(d) + " by " + late.Round(time.Millisecond).String()}
}

func (j *Injector) cutResource() Fault {
	r := j.resource()
	for _, p := range r.bus {
		p.Cut()
	}
	return Fault{Name: ": " + r.Instance}
}

func (j *Injector) startIsolated() Fault {
	r := j.resource()
	r.Kill()
	hold(r.bus, true, true)
	j.launch(j.t, r)
	j.wait(j.between(500*time.Millisecond, j.Bound))
	apart := Fault{Name: ": " + r.Instance, Down: []string{r.Instance}, Apart: []string{r.Instance}}
	apart.Healed = j.Recorder.Now()
	hold(r.bus, false, false)
	j.ready(j.t, r)
	return apart
}

func hold(proxies []*Proxy, to, from bool) {
	for _, p := range proxies {
		p.Hold(to, from)
	}
}

func delay(proxies []*Proxy, d time.Duration) {
	for _, p := range proxies {
		p.Delay(d)
	}
}
