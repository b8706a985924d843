package recovery

import (
	"time"

	"github.com/tocsin-auth/tocsin/test/natstest"
)

func (b *bench) single() {
	b.restarts()
	b.outages("authsvc and its bus killed and started again", b.authOutage)
	b.outages("silence between verifiers and the bus", b.silentOutage)
	b.outages("verifiers frozen", b.frozenOutage)
}

func (b *bench) cluster() {
	b.succession()
	b.silence()
	b.outages("every authsvc killed and started again", b.authOutage)
	b.outages("every NATS node killed and started again", b.busOutage)
	b.outages("silence between verifiers and the bus", b.silentOutage)
	b.outages("verifiers frozen", b.frozenOutage)
	b.outages("PostgreSQL away, killed and started again", b.databaseOutage)
}

// outages measures how long after the end of outages of one kind verifiers are fresh again.
func (b *bench) outages(name string, take func() time.Time) {
	f := b.finding(name+", fresh again", "1000")
	for range *outages {
		b.freshSince(take(), f)
	}
}

// An outage returns when it was over.

func (b *bench) authOutage() time.Time {
	for _, a := range b.Auth {
		a.Kill()
	}
	time.Sleep(outage())
	b.Auth[0].Restart(b)
	end := time.Now()
	for _, a := range b.Auth[1:] {
		a.Restart(b)
	}
	return end
}

func (b *bench) busOutage() time.Time {
	for i := range natstest.Nodes {
		b.Nodes.Kill(i)
	}
	time.Sleep(outage())
	for i := range natstest.Nodes {
		b.Nodes.Start(b, i)
	}
	b.Nodes.WaitReady(b)
	return time.Now()
}

func (b *bench) silentOutage() time.Time {
	b.holdAll(true)
	time.Sleep(outage())
	end := time.Now()
	b.holdAll(false)
	return end
}

func (b *bench) holdAll(silent bool) {
	for _, way := range b.ways {
		for _, p := range way {
			p.Hold(silent, silent)
		}
	}
}

func (b *bench) frozenOutage() time.Time {
	b.fleet.Freeze()
	time.Sleep(outage())
	end := time.Now()
	b.fleet.Thaw()
	return end
}

// databaseOutage: connections are refused until the server has started again on its data, after a crash.
func (b *bench) databaseOutage() time.Time {
	b.Database.Aim()
	b.Database.Cut()
	time.Sleep(outage())
	if err := b.Postgres.Restart(b.Context()); err != nil {
		b.Fatal(err)
	}
	end := time.Now()
	b.Database.Aim(b.Postgres.Addr())
	return end
}
