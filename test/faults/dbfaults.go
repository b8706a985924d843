package faults

// databaseKinds are the faults of PostgreSQL's own processes.
var databaseKinds = []kind{
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
