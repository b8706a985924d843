package events

import (
	"encoding/json"
	"errors"
	"net/textproto"
	"testing"
	"time"
)

// The requests are the server's, to the letter.
func TestReadsOfTheStreamAreWhatTheServerTakes(t *testing.T) {
	since := time.Date(2026, 11, 22, 10, 0, 0, 5_000, time.FixedZone("", 3600))
	for _, c := range []struct {
		read StreamRead
		want string
	}{
		{ReadFromSeq(7), `{"seq":7,"next_by_subj":"tocsin.v1.feed.\u003e","batch":256,"max_bytes":1048576}`},
		{ReadFromTime(since), `{"start_time":"2026-11-22T09:00:00.000005Z","next_by_subj":"tocsin.v1.feed.\u003e","batch":256,"max_bytes":1048576}`},
	} {
		if got, err := json.Marshal(c.read); err != nil || string(got) != c.want {
			t.Errorf("%s %v, want %s", got, err, c.want)
		}
	}
}

func TestABatchEndsWithAMessageThatHasAStatus(t *testing.T) {
	refused := errors.New("any")
	for name, c := range map[string]struct {
		header  textproto.MIMEHeader
		end     bool
		seq     uint64
		pending uint64
		err     error
	}{
		"a message":     {header: textproto.MIMEHeader{HeaderStreamSeq: {"9"}}, seq: 9},
		"no number":     {header: textproto.MIMEHeader{HeaderStreamSeq: {"-9"}}},
		"more":          {header: textproto.MIMEHeader{HeaderStatus: {"204"}, HeaderPending: {"3"}}, end: true, pending: 3},
		"the end":       {header: textproto.MIMEHeader{HeaderStatus: {"204"}, HeaderPending: {"0"}}, end: true},
		"nothing there": {header: textproto.MIMEHeader{HeaderStatus: {"404"}}, end: true},
		"no responders": {header: textproto.MIMEHeader{HeaderStatus: {"503"}}, end: true, err: ErrNoStream},
		"refused":       {header: textproto.MIMEHeader{HeaderStatus: {"408"}}, end: true, err: refused},
	} {
		end, pending, err := EndOfRead(c.header)
		if seq := StreamSeq(c.header); end != c.end || pending != c.pending || seq != c.seq {
			t.Errorf("%s: end %v, %d pending, seq %d", name, end, pending, seq)
		}
		if (err != nil) != (c.err != nil) || errors.Is(err, ErrNoStream) != errors.Is(c.err, ErrNoStream) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
