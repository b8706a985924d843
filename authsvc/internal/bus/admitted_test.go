package bus

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// A service that joins, leaves and comes back while the server runs is answered and hears the feed like those that were
// there at its start, and nobody else is disturbed.
func TestAServiceThatJoinsLaterIsAnswered(t *testing.T) {
	cfg := embeddedConfig(t)
	cars, jobs := local(t, cfg.DataDir, "cars"), local(t, cfg.DataDir, "jobs")
	b := start(t, cfg, cars)
	for _, subject := range []string{"tocsin.v1.keys.*", "tocsin.v1.check.*"} {
		sub, err := b.Reply().QueueSubscribe(subject, events.QueueGroup, func(m *nats.Msg) { m.Respond(m.Data) })
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Unsubscribe()
	}
	if err := b.Reply().Flush(); err != nil {
		t.Fatal(err)
	}
	first, _, err := join(t, b, cfg.DataDir, "cars")
	if err != nil {
		t.Fatal(err)
	}
	expectAnswers(t, first, "cars")
	for range 3 {
		resync(t, b, cars, jobs)
		later, _, err := join(t, b, cfg.DataDir, "jobs")
		if err != nil {
			t.Fatal(err)
		}
		live, err := later.SubscribeSync(events.LiveSubjects)
		if err != nil {
			t.Fatal(err)
		}
		if err := later.Flush(); err != nil {
			t.Fatal(err)
		}
		expectAnswers(t, later, "jobs")
		expectLive(t, b, live)
		expectAnswers(t, first, "cars")
		resync(t, b, cars)
		expectAnswers(t, first, "cars")
	}
}

func expectAnswers(t *testing.T, nc *nats.Conn, service string) {
	t.Helper()
	for _, subject := range []string{events.KeysSubject(service), events.CheckSubject(service)} {
		if m, err := nc.Request(subject, []byte("?"), within); err != nil || string(m.Data) != "?" {
			t.Errorf("question on %s: %v, %v", subject, m, err)
		}
	}
}
