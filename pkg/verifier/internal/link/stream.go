package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
)

// Limits of one Direct Get batch. There is no flow control, so they bound what can come at once: what is more than the
// server lets pend for a connection, or more than goes through within its write deadline, gets that cut off again and again.
const (
	batchMessages = 256
	batchBytes    = 1 << 20
	// batchTimeout is the longest silence between two messages. It is short, since whoever lost an answer has to be fresh
	// again within a second of the time from which none is lost.
	batchTimeout = 400 * time.Millisecond
	batchTries   = 2 // after which authsvc is asked for what is missing
)

// Headers and values that the NATS server sets.
const (
	statusHeader  = "Status"
	seqHeader     = "Nats-Sequence"
	pendingHeader = "Nats-Num-Pending"

	statusEndOfBatch   = "204"
	statusNotFound     = "404" // nothing from there on
	statusNoResponders = "503"
)

// directGet is the request of the server's Direct Get API; either Seq or StartTime is given.
type directGet struct {
	Seq       uint64     `json:"seq,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
	NextFor   string     `json:"next_by_subj"`
	Batch     int        `json:"batch"`
	MaxBytes  int        `json:"max_bytes"`
}

func fromSeq(seq uint64) directGet {
	return directGet{Seq: seq, NextFor: events.StreamSubjects, Batch: batchMessages, MaxBytes: batchBytes}
}

func fromTime(micros int64) directGet {
	start := time.UnixMicro(micros).UTC()
	return directGet{StartTime: &start, NextFor: events.StreamSubjects, Batch: batchMessages, MaxBytes: batchBytes}
}

var (
	errNoStream = errors.New("no stream answers")
	errCutShort = errors.New("the stream's answer ended early")
	// errNoProgress and errTooMuch are what a bus can do to keep somebody reading for ever.
	errNoProgress = errors.New("the stream says that there is more, and brings nothing new")
	errTooMuch    = errors.New("the stream's answer is longer than what was asked for")
)

// readStream applies what the stream has from the hole on. It returns nil at the stream's end, which says nothing about
// completeness: the replica that answered may lag.
func (l *Link) readStream(ctx context.Context, b bus, need follower.CatchUp) error {
	if need.Since > 0 {
		return l.readStreamFrom(ctx, b, fromTime(need.Since-catchUpMargin.Microseconds()))
	}
	err := l.readStreamFrom(ctx, b, fromTime(need.Now-firstLook.Microseconds()))
	if err != nil || l.upToDate() {
		return err
	}
	return l.readStreamFrom(ctx, b, fromSeq(1))
}

// readStreamFrom reads batch after batch until the stream's end, or until no answer waits any more. A batch that is cut
// short is asked for again from there on.
func (l *Link) readStreamFrom(ctx context.Context, b bus, request directGet) error {
	for silent := 0; ; {
		last, pending, err := l.readBatch(ctx, b, request)
		if errors.Is(err, errCutShort) && ctx.Err() == nil && !l.upToDate() {
			silent++
			if silent < batchTries {
				request = request.after(last)
				continue
			}
		}
		if err != nil || pending == 0 || l.upToDate() {
			return err
		}
		if last == 0 || last < request.Seq {
			return errNoProgress
		}
		request, silent = request.after(last), 0
	}
}

// after is the request for what follows a message; the same if there was none.
func (d directGet) after(last uint64) directGet {
	if last == 0 {
		return d
	}
	return fromSeq(last + 1)
}

// readBatch asks on the subject that this account is given, or, on a NATS without our accounts, on the plain one.
func (l *Link) readBatch(ctx context.Context, b bus, request directGet) (last, pending uint64, err error) {
	c := &l.catchUps
	c.mu.Lock()
	known := c.subject
	c.mu.Unlock()
	for _, subject := range []string{events.SubjectStreamGet, events.SubjectDirectGet} {
		if known != "" && subject != known {
			continue
		}
		last, pending, err = l.readBatchOn(ctx, b, subject, request)
		if errors.Is(err, errNoStream) {
			continue
		}
		if err == nil && known == "" {
			l.foundStream(subject)
		}
		return last, pending, err
	}
	return 0, 0, err
}

func (l *Link) foundStream(subject string) {
	l.catchUps.mu.Lock()
	l.catchUps.subject = subject
	l.catchUps.mu.Unlock()
	if subject == events.SubjectDirectGet {
		l.log.Warn("this NATS has no accounts for services: whoever holds a service's credentials can purge the stream, starve other services and read their answers")
	}
}

func (l *Link) readBatchOn(ctx context.Context, b bus, subject string, request directGet) (last, pending uint64, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return 0, 0, err
	}
	inbox := b.Inbox()
	sub, err := b.Subscribe(inbox)
	if err != nil {
		return 0, 0, err
	}
	defer sub.Unsubscribe()
	if err := b.Publish(subject, inbox, body); err != nil {
		return 0, 0, fmt.Errorf("ask the stream: %w", err)
	}
	for range batchMessages + 1 { // and the end of the batch
		m, err := nextWithin(ctx, sub, batchTimeout)
		if err != nil {
			return last, 0, fmt.Errorf("%w: %w", errCutShort, err)
		}
		if status := m.Header.Get(statusHeader); status != "" {
			pending, err := endOfBatch(status, m)
			return last, pending, err
		}
		last = max(last, number(m, seqHeader))
		if _, _, err := l.take(m); err != nil {
			l.log.Debug("message of the stream dropped", "error", err)
		}
	}
	return last, 0, errTooMuch
}

// endOfBatch reads the message that ends a batch: how many messages are still there, or why there is none.
func endOfBatch(status string, m *nats.Msg) (pending uint64, err error) {
	switch status {
	case statusEndOfBatch:
		return number(m, pendingHeader), nil
	case statusNotFound:
		return 0, nil
	case statusNoResponders:
		return 0, errNoStream
	}
	return 0, fmt.Errorf("the stream refuses: %s %s", status, m.Header.Get("Description"))
}

func number(m *nats.Msg, header string) uint64 {
	n, err := strconv.ParseUint(m.Header.Get(header), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func nextWithin(ctx context.Context, sub subscription, d time.Duration) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return sub.Next(ctx)
}
