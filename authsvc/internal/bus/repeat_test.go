package bus

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A client with wrong credentials tries several times a second, for ever.
func TestTheServersLogSaysTheSameOnceAMinute(t *testing.T) {
	var out bytes.Buffer
	l := &serverLog{log: slog.New(slog.NewTextHandler(&out, nil))}
	for i := range 100 {
		l.Errorf("127.0.0.1:%d - cid:%d - authentication error", 40000+i, i)
	}
	l.Errorf("another error")
	if got := strings.Count(out.String(), "authentication error"); got != 1 || !strings.Contains(out.String(), "another error") {
		t.Errorf("%d of 100 lines that say the same, and another:\n%s", got, out.String())
	}
}

func TestWhatWasNotToldIsCounted(t *testing.T) {
	var r repeats
	now := time.Unix(0, 0)
	for i := range 10 {
		r.pass(fmt.Sprint("cid:", i), now)
	}
	if untold, ok := r.pass("cid:77", now.Add(repeatAgain)); untold != 9 || !ok {
		t.Errorf("%d untold, %v", untold, ok)
	}
	for i := range 3 * repeatKinds {
		r.pass(strings.Repeat("x", i), now)
	}
	if len(r.seen) > repeatKinds {
		t.Errorf("%d kinds are remembered", len(r.seen))
	}
}
