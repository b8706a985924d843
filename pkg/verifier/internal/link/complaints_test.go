package link

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
)

// unconnected is a bus that can't connect.
type unconnected struct {
	bus
	err error
}

func (unconnected) Connected() bool { return false }
func (u unconnected) Fault() error  { return u.err }

// With another service's seed every question is refused, and with none every try to connect is.
func TestWhatNATSRefusesIsLoggedOnceAConnection(t *testing.T) {
	var out bytes.Buffer
	l := newLink(Config{Log: slog.New(slog.NewTextHandler(&out, nil)), Clock: clock.NewFake(time.Now()), Largest: time.Second, Smallest: time.Second}, nil)
	defer l.Close()
	for i := range 100 {
		l.noticed(noticeError, errors.New("permissions violation"))
		l.lookAround(unconnected{err: errors.New("authorization violation")}, "")
		l.noticed(noticeError, fmt.Errorf("number %d", i))
	}
	for _, what := range []string{"permissions violation", "authorization violation"} {
		if got := strings.Count(out.String(), what); got != 1 {
			t.Errorf("%q was logged %d times", what, got)
		}
	}
	if lines := strings.Count(out.String(), "\n"); lines > maxComplaints {
		t.Errorf("%d lines", lines)
	}
	l.complaints.forget()
	l.noticed(noticeError, errors.New("permissions violation"))
	if got := strings.Count(out.String(), "permissions violation"); got != 2 {
		t.Errorf("on a new connection: %d", got)
	}
}
