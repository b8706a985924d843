// Package linktest drives the verifier's feed client against real NATS servers and an authority in memory. The verifier's
// module may not know nats-server, so its own tests script the bus; these show that the script is true.
package linktest

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

func TestMain(m *testing.M) { machine.Exit(m.Run()) }

// start starts a verifier that knows nothing.
func start(t testing.TB, url, seed string, more ...verifier.Option) *verifier.Verifier {
	t.Helper()
	opts := []verifier.Option{
		verifier.WithFeedKeysFile(feedKeysFile(t)),
		verifier.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))),
	}
	opts = append(opts, more...)
	if seed != "" {
		opts = append(opts, verifier.WithNATSCredentials(seed))
	}
	v, err := verifier.New(t.Context(), verifier.Config{
		Issuer: issuer, Audience: "tocsin", Service: service, NATSURL: url,
	}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// await polls, as servers and sockets are real, until the verifier has applied and proven a head.
func await(t testing.TB, v *verifier.Verifier, head uint64) verifier.Stats {
	t.Helper()
	deadline := time.After(machine.Patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		s := v.Stats()
		if v.Ready() == nil && s.Applied >= head && s.Head >= head && s.ProofAge < 2*time.Second {
			return s
		}
		select {
		case <-deadline:
			t.Fatalf("not there: %v; %+v", v.Ready(), s)
		case <-tick.C:
		}
	}
}

// connect returns a connection that goes on through restarts of its server.
func connect(t testing.TB, s *natstest.Server, user string) *nats.Conn {
	return s.Connect(t, user, nats.MaxReconnects(-1))
}

func TestFirstStartReadsTheStreamUnderTheShippedPermissions(t *testing.T) {
	s := natstest.Start(t, service)
	a := newAuthority(t, connect(t, s, natstest.AuthFeed), connect(t, s, natstest.AuthReply), 1)
	first, last := a.revoke(3000)
	a.store(first, last, 1) // more messages than one batch of Direct Get has
	a.liveIsEnough(a.readsTheStream(last, func() *verifier.Verifier { return start(t, s.URL(), s.SeedFile(service)) }))
}

// readsTheStream starts verifiers until one has got everything from the stream: where the machine stands still while one reads,
// it turns to pages.
func (a *authority) readsTheStream(last uint64, start func() *verifier.Verifier) (v *verifier.Verifier) {
	a.t.Helper()
	machine.Steadily(a.t, func() error {
		v = start()
		stats := await(a.t, v, last)
		if stats.Revocations != int(last) || stats.BadMessages != 0 {
			a.t.Fatalf("%+v", stats)
		}
		if stats.CatchUps["snapshot"] != 0 || stats.CatchUps["stream"] == 0 {
			return fmt.Errorf("not from the stream alone: %+v", stats)
		}
		return nil
	})
	return v
}

// liveIsEnough tells of revocations on the live feed, which a verifier needn't read elsewhere then: unless the machine stands still
// between their commit and the news of them.
func (a *authority) liveIsEnough(v *verifier.Verifier) {
	a.t.Helper()
	machine.Steadily(a.t, func() error {
		before := v.Stats().CatchUps
		first, last := a.revoke(2)
		a.tell(first, last)
		if stats := await(a.t, v, last); !maps.Equal(stats.CatchUps, before) {
			return fmt.Errorf("the live feed should have been enough: %+v, before %v", stats, before)
		}
		return nil
	})
}

func TestWhatTheStreamLacksComesAsPages(t *testing.T) {
	s := natstest.Start(t, service)
	a := newAuthority(t, connect(t, s, natstest.AuthFeed), connect(t, s, natstest.AuthReply), 1)
	first, last := a.revoke(2200)
	a.store(first, first+99, 10)
	stats := await(t, start(t, s.URL(), s.SeedFile(service)), last)
	if stats.Revocations != 2200 || stats.CatchUps["snapshot"] != 1 {
		t.Fatalf("%+v", stats)
	}
}

func TestPlainServerIsReadOnThePlainSubject(t *testing.T) {
	s := natstest.Start(t)
	a := newAuthority(t, connect(t, s, "any"), connect(t, s, "any"), 1)
	first, last := a.revoke(600)
	a.store(first, last, 1)
	a.readsTheStream(last, func() *verifier.Verifier { return start(t, s.URL(), "") })
}

func TestQuestionThatNobodyHearsDoesNotEndTheAsking(t *testing.T) {
	s := natstest.Start(t, service)
	v := start(t, s.URL(), s.SeedFile(service))
	reply := connect(t, s, natstest.AuthReply)
	machine.Await(t, "a connection", func() bool { return v.Stats().Connected })
	<-time.After(600 * time.Millisecond) // two questions at least, and nobody can listen without being a responder
	a := newAuthority(t, connect(t, s, natstest.AuthFeed), reply, 1)
	_, last := a.revoke(3)
	await(t, v, last)
}

// flush returns once the server has everything, whatever reconnects meanwhile: one of them ends a running flush.
func flush(t testing.TB, nc *nats.Conn) {
	t.Helper()
	for deadline := time.Now().Add(machine.Patience); ; {
		err := nc.FlushTimeout(time.Until(deadline))
		if err == nil {
			return
		}
		if !time.Now().Before(deadline) {
			t.Fatal(err)
		}
	}
}

func TestServerComingLateAndRestartingIsFollowed(t *testing.T) {
	s := natstest.Start(t, service)
	s.Stop()
	v := start(t, s.URL(), s.SeedFile(service))
	if v.Ready() == nil {
		t.Fatal("ready without a server")
	}
	s.Restart(t)
	a := newAuthority(t, connect(t, s, natstest.AuthFeed), connect(t, s, natstest.AuthReply), 1)
	first, last := a.revoke(10)
	a.store(first, last, 5)
	before := await(t, v, last)
	s.Stop()
	_, last = a.revoke(10) // told to nobody
	s.Restart(t)
	flush(t, a.publish)
	after := await(t, v, last)
	if after.Revocations != 20 || after.Reconnects == before.Reconnects {
		t.Fatalf("%+v", after)
	}
}

func TestReconnectReadsNothingWhenNothingWasMissed(t *testing.T) {
	s := natstest.Start(t, service)
	a := newAuthority(t, connect(t, s, natstest.AuthFeed), connect(t, s, natstest.AuthReply), 1)
	first, last := a.revoke(10)
	a.store(first, last, 5)
	v := start(t, s.URL(), s.SeedFile(service))
	before := await(t, v, last)
	s.Restart(t)
	proofs := before.Proofs
	deadline := time.Now().Add(machine.Patience)
	for stats := v.Stats(); stats.Proofs < proofs+2 || stats.Reconnects == 0; stats = v.Stats() {
		if time.Now().After(deadline) {
			t.Fatalf("not proven again: %+v", stats)
		}
		await(t, v, last)
	}
	if stats := v.Stats(); stats.CatchUps["stream"] != before.CatchUps["stream"] || a.times(events.SnapshotSubject("*")) != 0 {
		t.Fatalf("%+v", stats)
	}
}

func TestVerifierMovesToAnotherNodeOfACluster(t *testing.T) {
	c := natstest.StartCluster(t, service)
	a := newAuthority(t, c.Connect(t, natstest.AuthFeed, nats.MaxReconnects(-1)), c.Connect(t, natstest.AuthReply, nats.MaxReconnects(-1)), 3)
	first, last := a.revoke(300)
	a.store(first, last, 1)
	v := start(t, c.URL(), c.SeedFile(service))
	await(t, v, last)
	for node := range 2 { // one after the other; the verifier is on one of them sooner or later
		c.Kill(node)
		_, last = a.revoke(5)
		await(t, v, last)
		c.Start(t, node)
		c.WaitReady(t)
	}
}

// BenchmarkFirstStart measures a start over 100,000 live events, many to a message as the dispatcher packs them, and one
// to a message as single revocations come.
func BenchmarkFirstStart(b *testing.B) {
	for name, size := range map[string]int{"100 to a message": 100, "single": 1} {
		b.Run(name, func(b *testing.B) {
			const count = 100_000
			s := natstest.Start(b, service)
			a := newAuthority(b, connect(b, s, natstest.AuthFeed), connect(b, s, natstest.AuthReply), 1)
			first, last := a.revoke(count)
			a.store(first, last, size)
			for b.Loop() {
				v := start(b, s.URL(), s.SeedFile(service))
				if stats := await(b, v, last); stats.CatchUps["snapshot"] != 0 {
					b.Fatalf("%+v", stats)
				}
				b.StopTimer()
				_ = v.Close()
				b.StartTimer()
			}
			b.ReportMetric(count/b.Elapsed().Seconds()*float64(b.N), "events/s")
		})
	}
}
