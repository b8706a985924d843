package events

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Limits of one batch that is read from the stream. There is no flow control, so they bound what can come at once: what is more
// than the server lets pend for a connection, or more than goes through within its write deadline, gets that cut off again and again.
const (
	StreamReadMessages = 256
	StreamReadBytes    = 1 << 20
)

// StreamRead asks the stream for a batch of messages: a request of the NATS server's Direct Get API. Either Seq or StartTime is
// given.
type StreamRead struct {
	Seq       uint64     `json:"seq,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
	NextFor   string     `json:"next_by_subj"`
	Batch     int        `json:"batch"`
	MaxBytes  int        `json:"max_bytes"`
}

// ReadFromSeq asks for what the stream has from a sequence of its own on.
func ReadFromSeq(seq uint64) StreamRead {
	return StreamRead{Seq: seq, NextFor: StreamSubjects, Batch: StreamReadMessages, MaxBytes: StreamReadBytes}
}

// ReadFromTime asks for what the stream has from a time of the server's clock on.
func ReadFromTime(since time.Time) StreamRead {
	since = since.UTC()
	return StreamRead{StartTime: &since, NextFor: StreamSubjects, Batch: StreamReadMessages, MaxBytes: StreamReadBytes}
}

// Names and values of headers that the NATS server sets.
const (
	HeaderStatus    = "Status"
	HeaderStreamSeq = "Nats-Sequence"
	HeaderPending   = "Nats-Num-Pending" // messages that are still there after a batch

	StatusEndOfBatch   = "204"
	StatusNotFound     = "404" // nothing from there on
	StatusNoResponders = "503"

	headerDescription = "Description"
)

// ErrNoStream means that nobody answers for the stream.
var ErrNoStream = errors.New("no stream answers")

// Header is that of a message of NATS.
type Header interface{ Get(name string) string }

// StreamSeq returns the stream's own sequence of a message that was read from it, 0 if it has none.
func StreamSeq(h Header) uint64 { return numberIn(h, HeaderStreamSeq) }

// EndOfRead reports whether a message is the one that ends a batch, and then how many messages are still there, or why there is
// no batch.
func EndOfRead(h Header) (end bool, pending uint64, err error) {
	switch status := h.Get(HeaderStatus); status {
	case "":
		return false, 0, nil
	case StatusEndOfBatch:
		return true, numberIn(h, HeaderPending), nil
	case StatusNotFound:
		return true, 0, nil
	case StatusNoResponders:
		return true, 0, ErrNoStream
	default:
		return true, 0, fmt.Errorf("the stream refuses: %s %s", status, h.Get(headerDescription))
	}
}

func numberIn(h Header, name string) uint64 {
	n, err := strconv.ParseUint(h.Get(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
