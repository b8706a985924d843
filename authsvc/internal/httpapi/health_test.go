package httpapi

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestReadinessIsLoggedOncePerChange(t *testing.T) {
	var log bytes.Buffer
	s := &Server{log: slog.New(slog.NewTextHandler(&log, nil))}
	away := errors.New("away")
	for _, err := range []error{nil, nil, away, away, away, nil, nil, away} {
		s.tellReady(t.Context(), "database", err)
	}
	if n, back := strings.Count(log.String(), "not ready"), strings.Count(log.String(), "ready again"); n != 2 || back != 1 {
		t.Errorf("%d times not ready, %d times ready again:\n%s", n, back, log.String())
	}
}
