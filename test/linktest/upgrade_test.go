package linktest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

// newerAuthority is one of a later release: what it signs has fields that this one doesn't know.
func newerAuthority(t *testing.T, s *natstest.Server) *authority {
	a := newAuthority(t, connect(t, s, natstest.AuthFeed), connect(t, s, natstest.AuthReply), 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.newer = true
	return a
}

// say commits and numbers one event of any type, sends it on the live feed and stores it in the stream.
func (a *authority) say(typ events.Type, payload string) (seq uint64) {
	a.t.Helper()
	a.mu.Lock()
	seq = uint64(len(a.raws)) + 1
	now := time.Now().UnixMicro()
	raw, err := events.EncodeEvent(seq, typ, now, now+time.Hour.Microseconds(), []byte(payload))
	if err != nil {
		a.t.Fatal(err)
	}
	a.raws = append(a.raws, raw)
	a.chains = append(a.chains, a.chains[seq-1].Next(raw))
	m := a.page(seq, seq)
	a.mu.Unlock()

	js, err := jetstream.New(a.publish)
	if err != nil {
		a.t.Fatal(err)
	}
	m.Subject = events.FeedSubject(typ)
	natstest.Insist(a.t, "store an event", func(ctx context.Context) error { // a copy does no harm
		_, err := js.PublishMsg(ctx, m)
		return err
	})
	m.Subject = events.LiveSubject(typ)
	if err := a.publish.PublishMsg(m); err != nil {
		a.t.Fatal(err)
	}
	return seq
}

// revokes is a revocation with a field that this version doesn't know.
func revokes(seq uint64) string { return fmt.Sprintf(`{"jti":%q,"zone":"eu"}`, jti(seq)) }

func TestNoCollateralOfAFeedOfANewerRelease(t *testing.T) {
	s := natstest.Start(t, service)
	a := newerAuthority(t, s)
	a.say(events.TypeTokenRevoked, revokes(1))
	a.say("tenant.moved", `{"tenant":7,"ignorable":true}`)
	running := start(t, s.URL(), s.SeedFile(service)) // reads both kinds from the stream
	await(t, running, 2)

	a.say("tenant.moved", `{"tenant":8,"ignorable":true}`)
	a.say(events.TypeTokenRevoked, `{"device":"d1","ignorable":true}`) // a new selector of a known type
	last := a.say(events.TypeTokenRevoked, revokes(5))
	for name, v := range map[string]*verifier.Verifier{"running": running, "started later": start(t, s.URL(), s.SeedFile(service))} {
		stats := await(t, v, last)
		if stats.Revocations != 2 || stats.BadMessages != 0 || stats.Mismatches != 0 || stats.TokenKeys != 1 || stats.Applied != last {
			t.Errorf("%s: %+v", name, stats)
		}
	}
}

func TestAnEventThatMayNotBePassedOverMakesAnOlderVerifierRefuse(t *testing.T) {
	for name, payload := range map[string]string{"a new type": `{"tenant":7}`, "a new selector": `{"device":"d1"}`} {
		t.Run(name, func(t *testing.T) {
			typ := events.TypeTokenRevoked
			if name == "a new type" {
				typ = "tenant.locked"
			}
			s := natstest.Start(t, service)
			a := newerAuthority(t, s)
			a.say(events.TypeTokenRevoked, revokes(1))
			v := start(t, s.URL(), s.SeedFile(service), verifier.WithMaxStaleness(time.Second))
			await(t, v, 1)
			a.say(typ, payload)
			a.say(events.TypeTokenRevoked, revokes(3))

			// It refuses once its last proof is over, as it can't know whom the event concerns, and applies the rest.
			machine.Await(t, "the end of freshness, and two revocations", func() bool { return v.Ready() != nil && v.Stats().Revocations == 2 })
			if stats := v.Stats(); stats.Applied != 1 || stats.State != events.StateStale || stats.BadMessages != 0 {
				t.Errorf("%+v", stats)
			}
		})
	}
}
