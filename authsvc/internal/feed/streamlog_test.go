package feed

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// With two of three nodes dead the stream could be looked at now and then, and took nothing.
func TestAStreamThatTakesNothingIsUnavailableUntilItTakesSomething(t *testing.T) {
	var log bytes.Buffer
	cfg := Config{Log: slog.New(slog.NewTextHandler(&log, nil))}
	signer := events.NewSigner("i", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	d := NewDispatcher(DispatcherConfig{Log: cfg.Log, Clock: &manualClock{}, Signer: func() *events.Signer { return signer }})
	l := loop{Feed: &Feed{cfg: cfg, dispatcher: d}}
	d.term = &term{floor: 1, live: 2}
	d.stream.reset(1)
	look := func(state StreamState) {
		d.term.live = 1 // the outcomes of sending are this test's
		l.observe(t.Context(), observation{state: state})
	}
	settle := func(err error) {
		p := &parcel{first: 1, last: 1}
		p.settle(1, err)
		d.stream.window = []*parcel{p}
		d.collect()
	}
	for i, step := range []struct {
		do   func()
		away bool
	}{
		{func() { settle(errors.New("no response")) }, true},
		{func() { look(StreamState{}) }, true},
		{func() { settle(errors.New("no response")) }, true},
		{func() { settle(nil) }, false},
		{func() { look(StreamState{Frozen: true}) }, true},
		{func() { look(StreamState{}) }, false},
	} {
		if step.do(); d.Stats().StreamAway != step.away {
			t.Errorf("step %d: away: %v", i, !step.away)
		}
	}
	gone, back := strings.Count(log.String(), "stream is unavailable"), strings.Count(log.String(), "available again")
	if gone != 2 || back != 2 {
		t.Errorf("told %d times gone, %d times back:\n%s", gone, back, log.String())
	}
}

func TestTheStreamsAbsenceIsToldOnce(t *testing.T) {
	var log bytes.Buffer
	cfg := Config{Log: slog.New(slog.NewTextHandler(&log, nil))}
	l := loop{Feed: &Feed{cfg: cfg, dispatcher: NewDispatcher(DispatcherConfig{Log: cfg.Log})}}
	away := errors.New("no leader")
	for _, err := range []error{nil, away, away, away, nil, nil} {
		l.observe(t.Context(), observation{err: err})
		if got := l.dispatcher.Stats().StreamAway; got != (err != nil) {
			t.Errorf("away: %v after %v", got, err)
		}
	}
	gone, back := strings.Count(log.String(), "stream is unavailable"), strings.Count(log.String(), "available again")
	if gone != 1 || back != 1 {
		t.Errorf("told %d times gone, %d times back:\n%s", gone, back, log.String())
	}
}
