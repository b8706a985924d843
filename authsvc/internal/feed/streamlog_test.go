package feed

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

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
