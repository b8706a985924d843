package faults

import "time"

// databaseKinds are the faults of PostgreSQL's own processes.
var databaseKinds = []kind{
	{name: "fail PostgreSQL over", weight: 1, do: (*Injector).failOver},
	{name: "fail a frozen PostgreSQL over", weight: 1, do: (*Injector).failOverFrozen},
	{name: "freeze PostgreSQL", weight: 2, do: (*Injector).freezePostgres},
}

// freezePostgres leaves sockets open and answers nothing, as a server does whose disk hangs.
func (j *Injector) freezePostgres() Fault {
	d := j.hold()
	if err := j.postgres.Freeze(); err != nil {
		j.t.Fatal(err)
	}
	j.wait(d)
	if err := j.postgres.Thaw(); err != nil {
		j.t.Fatal(err)
	}
	return Fault{Name: lasting(d)}
}

// failOver kills the primary with -9, most often while a call changes something, and promotes its standby.
func (j *Injector) failOver() Fault {
	j.follow()
	j.wait(j.between(0, time.Second)) // changes wait for the standby from now on
	j.onChange()
	began := j.Recorder.Now()
	j.promote()
	return Fault{Span: Span{Begin: began}}
}

// failOverFrozen is for a primary that answers no more: it is fenced before the standby is promoted, since it would wake up.
func (j *Injector) failOverFrozen() Fault {
	j.follow()
	d := j.hold()
	j.onChange()
	began := j.Recorder.Now()
	if err := j.postgres.Freeze(); err != nil {
		j.t.Fatal(err)
	}
	j.wait(d)
	j.promote()
	return Fault{Span: Span{Begin: began}, Name: lasting(d)}
}

// follow makes a standby, for this fault alone: what commits waits for it. Outside of the fault nothing is slower.
func (j *Injector) follow() {
	if j.former != nil {
		if err := j.former.Stop(); err != nil {
			j.t.Error(err)
		}
		j.former = nil
	}
	standby, err := j.postgres.Standby(j.t.Context())
	if err != nil {
		j.t.Fatal(err)
	}
	j.standby = standby
}

// promote makes the standby the primary, after the old one is gone for good.
func (j *Injector) promote() {
	if err := j.postgres.Crash(); err != nil {
		j.t.Fatal(err)
	}
	if err := j.standby.Promote(j.t.Context()); err != nil {
		j.t.Fatal(err)
	}
	j.former, j.postgres, j.standby = j.postgres, j.standby, nil
	for _, p := range j.database {
		p.Aim(j.postgres.Addr())
	}
}
