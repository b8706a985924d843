package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
)

const (
	// batchTimeout is the longest silence between two messages. It is short, since whoever lost an answer has to be fresh
	// again within a second of the time from which none is lost.
	batchTimeout = 400 * time.Millisecond
	batchTries   = 2 // after which authsvc is asked for what is missing
)

var (
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
	return l.readStreamFrom(ctx, b, events.ReadFromSeq(1))
}

// readStreamFrom reads batch after batch until the stream's end, or until no answer waits any more. A batch that is cut
// short is asked for again from there on.
func (l *Link) readStreamFrom(ctx context.Context, b bus, request events.StreamRead) error {
	for silent := 0; ; {
		last, pending, err := l.readBatch(ctx, b, request)
		if errors.Is(err, errCutShort) && ctx.Err() == nil && !l.upToDate() {
			silent++
			if silent < batchTries {
				request = after(request, last)
				continue
			}
		}
		if err != nil || pending == 0 || l.upToDate() {
			return err
		}
		if last == 0 || last < request.Seq {
			return errNoProgress
		}
		request, silent = after(request, last), 0
	}
}

func fromTime(micros int64) events.StreamRead { return events.ReadFromTime(time.UnixMicro(micros)) }

// after is the request for what follows a message; the same if there was none.
func after(request events.StreamRead, last uint64) events.StreamRead {
	if last == 0 {
		return request
	}
	return events.ReadFromSeq(last + 1)
}

// readBatch asks on the subject that this account is given, or, on a NATS without our accounts, on the plain one.
func (l *Link) readBatch(ctx context.Context, b bus, request events.StreamRead) (last, pending uint64, err error) {
	c := &l.catchUps
	c.mu.Lock()
	known := c.subject
	c.mu.Unlock()
	for _, subject := range []string{events.SubjectStreamGet, events.SubjectDirectGet} {
		if known != "" && subject != known {
			continue
		}
		last, pending, err = l.readBatchOn(ctx, b, subject, request)
		if errors.Is(err, events.ErrNoStream) {
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

func (l *Link) readBatchOn(ctx context.Context, b bus, subject string, request events.StreamRead) (last, pending uint64, err error) {
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
	for range events.StreamReadMessages + 1 { // and the end of the batch
		m, err := nextWithin(ctx, sub, batchTimeout)
		if err != nil {
			return last, 0, fmt.Errorf("%w: %w", errCutShort, err)
		}
		if end, pending, err := events.EndOfRead(m.Header); end {
			return last, pending, err
		}
		last = max(last, events.StreamSeq(m.Header))
		if _, _, err := l.take(m); err != nil {
			l.log.Debug("message of the stream dropped", "error", err)
		}
	}
	return last, 0, errTooMuch
}

func nextWithin(ctx context.Context, sub subscription, d time.Duration) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return sub.Next(ctx)
}
