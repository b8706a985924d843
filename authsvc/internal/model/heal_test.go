package model

import (
	"context"
	"fmt"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
)

// heal ends all faults and kills every replica; one is started. Then everybody becomes fresh, refuses what was revoked
// and accepts what wasn't, and every event that the database holds was numbered, sent and stored.
func (w *world) heal() error {
	w.bus.Away, w.bus.StreamAway, w.lag, w.journal.Limit = false, false, 0, 0
	w.advance(2 * time.Second)
	last := w.replica(issuer)
	w.look(last)
	for _, m := range w.machines {
		m.setWall(w.clock.Now().Sub(time.Unix(0, m.clock.Now().Wall)) + m.set)
		if m.Stats().Epoch > w.position().Epoch {
			// The database was set back to before an epoch that this verifier has proven, and nobody who answers has
			// evidence of it. It refuses for ever: from its side that is a rollback. People have to restart it.
			m.start()
		}
		if err := w.freshen(m, last); err != nil {
			return err
		}
	}
	if err := w.settle(last); err != nil {
		return err
	}
	for _, m := range w.machines {
		for _, c := range w.auth.credentials {
			if err := m.verdict(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// freshen lets a verifier talk to a dispatcher undisturbed.
func (w *world) freshen(m *machine, r *replica) error {
	var err error
	for range 4 {
		q := m.ask()
		since := m.clock.Now()
		messages, answers := len(w.messages), len(w.answers)
		if err = w.step(r, []feed.Request{q}, 0, nil); err != nil {
			continue
		}
		w.bus.Settle()
		m.hear(w.messages[messages:]...)
		m.take(w.answers[answers:]...)
		w.advance(150 * time.Millisecond)
		m.awake()
		_ = m.FetchKeys()
		err = m.CatchUp()
		if fresh := m.Fresh(); fresh != nil && fresh.Since == since {
			return nil
		}
	}
	return &violation{"NothingLost", fmt.Sprintf("%s isn't fresh, although nothing is wrong any more: %v; %+v", m.name, err, m.Stats())}
}

// settle lets the stream take what it lacks.
func (w *world) settle(r *replica) error {
	for range 12 {
		w.advance(300 * time.Millisecond)
		w.bus.Settle()
		if err := w.step(r, nil, 0, nil); err != nil {
			return &violation{"NothingLost", err.Error()}
		}
		w.look(r)
	}
	for _, row := range w.journal.Rows() {
		if row.Until > w.clock.Now().UnixMicro() && !row.Published || row.Seq == 0 {
			return &violation{"NothingLost", fmt.Sprintf("event %s isn't published: %+v", row.ID, row.FeedRow)}
		}
	}
	return nil
}

// verdict compares what a fresh verifier says with the truth of this moment.
func (m *machine) verdict(c *credential) error {
	if c.murky() {
		return nil
	}
	accepted, err := m.call(c, bound)
	if err != nil {
		return err
	}
	now, truth := m.w.elapsed, m.w.clock.Now().UnixMicro()
	dead := c.deadThroughout(now, now)
	switch {
	case accepted && dead:
		return &violation{"NothingLost", fmt.Sprintf("%s accepts %s, which is dead", m.name, c.name)}
	case accepted || dead || !c.isKey && truth > c.expires-time.Minute.Microseconds():
		return nil
	}
	p, err := m.Verifier.Verify(context.Background(), c.raw, nil)
	return &violation{"NoCollateral", fmt.Sprintf("%s refuses %s: %v %v", m.name, c.name, p, err)}
}
