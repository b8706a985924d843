package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// historySilence is the longest time between two messages of a batch.
const historySilence = 2 * time.Second

// errCutShort means that the stream's answer ended before the stream did.
var errCutShort = errors.New("the stream's answer ended early")

// extent is what a stream held when it began to be read.
type extent struct {
	created, firstTime time.Time
	firstSeq, lastSeq  uint64
}

// reaches reports whether everything that was stored since a time is still there.
func (e extent) reaches(since time.Time) bool {
	return !e.firstTime.After(since) || (e.firstSeq <= 1 && !e.created.After(since))
}

// history gives every message that was stored since a time, up to what is the stream's end now, to each. The order is that
// of the stream.
func (b *natsBus) history(ctx context.Context, since time.Time, each func(*nats.Msg) error) (extent, error) {
	stream, err := b.js.Stream(ctx, events.StreamName)
	if err != nil {
		return extent{}, fmt.Errorf("stream %s: %w", events.StreamName, err)
	}
	info := stream.CachedInfo()
	e := extent{info.Created, info.State.FirstTime, info.State.FirstSeq, info.State.LastSeq}
	request := events.ReadFromTime(since)
	for info.State.Msgs > 0 && !info.State.LastTime.Before(since) {
		last, err := b.historyBatch(ctx, request, each)
		if err != nil {
			return e, err
		}
		if last >= e.lastSeq {
			break
		}
		if last == 0 { // the replica that answered lags behind
			return e, errCutShort
		}
		request = events.ReadFromSeq(last + 1)
	}
	return e, nil
}

// historyBatch returns the stream sequence of the last message, 0 when there was none.
func (b *natsBus) historyBatch(ctx context.Context, request events.StreamRead, each func(*nats.Msg) error) (last uint64, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return 0, err
	}
	sub, err := b.feed.SubscribeSync(b.feed.NewInbox())
	if err != nil {
		return 0, err
	}
	defer sub.Unsubscribe()
	if err := b.feed.PublishRequest(events.SubjectDirectGet, sub.Subject, body); err != nil {
		return 0, err
	}
	for {
		m, err := nextWithin(ctx, sub)
		if err != nil {
			return last, fmt.Errorf("%w: %w", errCutShort, err)
		}
		if end, _, err := events.EndOfRead(m.Header); end {
			return last, err
		}
		last = max(last, events.StreamSeq(m.Header))
		if err := each(m); err != nil {
			return last, err
		}
	}
}

func nextWithin(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, historySilence)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}
