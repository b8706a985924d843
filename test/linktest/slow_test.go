package linktest

import (
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/faults"
	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

// A service that reads nothing while much happens is cut off by NATS, which throws away what it has for it.
func TestSlowConsumerThatNATSCutsOffCatchesUpByItself(t *testing.T) {
	s := natstest.StartWith(t, "write_deadline: 200ms\nmax_pending: 1280KB", service)
	a := newAuthority(t, connect(t, s, natstest.AuthFeed), connect(t, s, natstest.AuthReply), 1)
	pipe := faults.StartProxy(t, strings.TrimPrefix(s.URL(), "nats://"))
	v := start(t, "nats://"+pipe.Addr(), s.SeedFile(service))
	await(t, v, 0)

	pipe.Hold(false, true)
	first, last := a.revoke(events.MaxBatchEvents)
	for deadline := time.Now().Add(machine.Patience); s.SlowConsumers() == 0; {
		a.tell(first, last) // again and again: what the kernel has room for still arrives
		flush(t, a.publish)
		if time.Now().After(deadline) {
			t.Fatal("the server doesn't mind")
		}
	}
	const revoked = 40_000
	_, last = a.revoke(revoked - events.MaxBatchEvents)
	a.store(first, last, events.MaxBatchEvents)
	for at := first; at <= last; at += events.MaxBatchEvents {
		a.tell(at, at+events.MaxBatchEvents-1)
	}
	flush(t, a.publish)
	released, beat := time.Now(), machine.Listen()
	pipe.Hold(false, false)
	for done := false; !done; {
		looked := time.Now()
		proven := v.Stats()
		known := v.Stats().Revocations // read later: it may know more than it has proven
		done = known == revoked
		if !done && proven.Proofs > 0 && proven.ProofAge < looked.Sub(released) {
			t.Fatalf("fresh by a proof that was asked for afterwards, with %d of %d: %+v", known, revoked, proven)
		}
		if looked.Sub(released) > machine.Patience {
			t.Fatalf("%+v", proven)
		}
	}
	stats := await(t, v, last)
	t.Logf("fresh again %v after it could read again; %d reconnects, read again from %v", time.Since(released).Round(time.Millisecond), stats.Reconnects, stats.CatchUps)
	// A catch-up that is itself more than may pend would have it cut off again. So may a machine that doesn't let it read.
	spoilt := stats.Reconnects > 2 || stats.CatchUps["stream"] == 0
	if stood := beat.Stop(); stats.Reconnects == 0 || spoilt && stood < machine.Stall {
		t.Errorf("%+v, the machine stood still for %v", stats, stood)
	}
}

// A verifier that is told more than it can verify has its own client drop messages.
func TestSlowConsumerWhoseOwnClientDropsCatchesUpByItself(t *testing.T) {
	s := natstest.StartWith(t, "max_pending: 256MB", service)
	a := newAuthority(t, connect(t, s, natstest.AuthFeed), connect(t, s, natstest.AuthReply), 1)
	_, last := a.revoke(1)
	a.store(1, last, 1)
	v := start(t, s.URL(), s.SeedFile(service))
	await(t, v, last)

	old := a.batch(1, 1)
	old.Subject = events.LiveSubject(events.TypeTokenRevoked)
	began := time.Now()
	for v.Stats().SlowConsumer == 0 {
		if time.Since(began) > 20*time.Second {
			t.Skip("this machine verifies as fast as NATS delivers")
		}
		for range 50_000 {
			if err := a.publish.PublishMsg(old); err != nil {
				t.Fatal(err)
			}
		}
		a.tell(a.revoke(1)) // in the midst of it
		flush(t, a.publish)
	}
	last = uint64(len(a.raws))
	stats := await(t, v, last)
	t.Logf("after %v: %d revocations, %d times a slow consumer, read again from %v", time.Since(began).Round(time.Millisecond), last, stats.SlowConsumer, stats.CatchUps)
	if stats.Revocations != int(last) {
		t.Errorf("%+v", stats)
	}
}
