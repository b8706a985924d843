package faults

import (
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

// patience is how long a program may take to be ready, whatever else is broken meanwhile.
const patience = machine.Patience

// restart starts an authsvc and waits until it is ready; as a supervisor does, it starts it again should it give up
// because something that it needs is away.
func (j *Injector) restart(a *system.Auth) {
	j.t.Helper()
	limit := time.Now().Add(patience)
	a.Start(j.t)
	for time.Now().Before(limit) {
		if got, err := a.Try(j.t.Context(), "GET", "/readyz", "", nil); err == nil && got.Status == 200 {
			return
		}
		if a.Ended() {
			a.Start(j.t)
		}
		time.Sleep(10 * time.Millisecond) // a real process: nothing else tells when it listens
	}
	j.t.Fatalf("%s isn't ready:\n%s", a.Name, a.Output())
}
