package faults

import "time"

// weather makes one fault in four meet another one: connections that are slow or a black hole for a while. The
// returned function waits until that is over.
func (j *Injector) weather(k kind) (clearUp func()) {
	if j.rng.IntN(4) > 0 || k.alone {
		return func() {}
	}
	proxies, where := j.somewhere()
	first, d, late := j.between(0, 500*time.Millisecond), j.hold(), time.Duration(0)
	name := "black hole"
	if j.rng.IntN(2) == 0 {
		name, late = "delay", j.between(5*time.Millisecond, 200*time.Millisecond)
	}
	over := make(chan struct{})
	go func() { // touches proxies and the recorder only: the test isn't failed from here
		defer close(over)
		time.Sleep(first)
		began := j.Recorder.Now()
		hold(proxies, late == 0, late == 0)
		delay(proxies, late)
		time.Sleep(d)
		hold(proxies, false, false)
		delay(proxies, 0)
		j.Recorder.Add(Fault{Span: Span{began, j.Recorder.Now()}, Kind: "beside another fault: " + name + " between " + where,
			Name: name + " between " + where + lasting(d)})
	}()
	return func() { <-over }
}

// somewhere draws connections.
func (j *Injector) somewhere() ([]*Proxy, string) {
	n := j.rng.IntN(len(j.Resources) + len(j.authBus) + len(j.database))
	switch {
	case n < len(j.Resources):
		return j.Resources[n].bus, "a resource service and the bus"
	case n < len(j.Resources)+len(j.authBus):
		return j.authBus[n-len(j.Resources)], "an authsvc and the bus"
	}
	n -= len(j.Resources) + len(j.authBus)
	return j.database[n : n+1], "an authsvc and PostgreSQL"
}
