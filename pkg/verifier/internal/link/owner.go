package link

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/defect"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
)

const (
	flushTimeout = 2 * time.Second
	flushAgain   = 100 * time.Millisecond
	readAgain    = 100 * time.Millisecond
	forgetEvery  = 10 * time.Second
	lookEvery    = time.Second // at least, for the log and for forgetting
)

// own is the owner goroutine.
func (l *Link) own() {
	if l.feedKeys.loadFirst(l.ctx) != nil {
		return
	}
	l.tasks.Go(func() {
		l.feedKeys.keep(l.ctx, func() { l.cadence.hurry(); l.rouse() })
	})
	b := l.connect()
	if b == nil {
		return
	}
	defer b.Close()
	inbox := b.Inbox()
	if err := errors.Join(l.listen(b, events.LiveSubjects, l.live), l.listen(b, inbox, l.answer)); err != nil {
		l.log.Error("the link ends", "error", err) // only a closed connection refuses
		return
	}
	l.renew.Store(true)
	l.keepTime(b, inbox)
}

// listen starts the goroutine that takes a subject's messages.
func (l *Link) listen(b bus, subject string, take func(*nats.Msg)) error {
	sub, err := b.Subscribe(subject)
	if err != nil {
		return err
	}
	l.tasks.Go(func() { l.read(sub, take) })
	return nil
}

// connect returns the bus, or nil if the link was closed before. A server that is away is no error here: the bus goes
// on trying by itself.
func (l *Link) connect() bus {
	for {
		b, err := l.dial(l.ctx)
		if err == nil {
			l.bus.Store(&b)
			return b
		}
		l.log.Error("NATS refuses the configuration, trying on", "error", err)
		if !pause(l.ctx, jitter(5*time.Second)) {
			return nil
		}
	}
}

// noticed passes on what happened to the connection. It runs in the NATS client's callbacks and only leaves notes.
func (l *Link) noticed(n notice, err error) {
	switch n {
	case noticeConnected:
		l.log.Info("connected to NATS")
		l.connectedAnew()
	case noticeReconnected:
		l.log.Info("connected to NATS again")
		l.counts.reconnects.Add(1)
		l.connectedAnew()
	case noticeDisconnected:
		l.session.broken()
		if l.ctx.Err() == nil {
			l.log.Warn("disconnected from NATS", "error", err)
		}
	case noticeDropped:
		l.counts.slow.Add(1)
		l.cadence.hurry() // the answer shows what is missing
	case noticeError:
		l.complaints.tell(l.log, "NATS reports", err)
	}
	l.rouse()
}

func (l *Link) connectedAnew() {
	l.complaints.forget()
	l.counts.connectedAt.Store(l.cfg.Clock.Now().Boot)
	l.session.begin(l.ctx)
	l.catchUps.forgive()
	l.renew.Store(true)
}

// keepTime does what is due until the link is closed.
func (l *Link) keepTime(b bus, inbox string) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.wake:
		case <-timer.C:
		}
		l.lookAround(b, inbox)
		timer.Reset(l.untilNext(b))
	}
}

func (l *Link) lookAround(b bus, inbox string) {
	l.tellState()
	l.forget()
	if !b.Connected() {
		if err := b.Fault(); err != nil && !b.Connected() {
			l.complaints.tell(l.log, "no connection to NATS; trying on", err)
		}
		return
	}
	if l.renew.Swap(false) && !l.flush(b) {
		return
	}
	if l.cadence.wait(time.Now()) == 0 {
		l.ask(b, inbox)
	}
	l.fetchIfWanted()
	l.catchUpIfDue(b)
}

// flush makes sure that the server knows the subscriptions before anything is asked.
func (l *Link) flush(b bus) bool {
	ctx, cancel := context.WithTimeout(l.ctx, flushTimeout)
	defer cancel()
	if err := b.Flush(ctx); err != nil {
		l.renew.Store(true)
		return false
	}
	l.cadence.hurry()
	return true
}

// ask sends a question. S is read before the follower makes it, and so before it is published.
func (l *Link) ask(b bus, inbox string) {
	now := l.cfg.Clock.Now()
	body := l.follower.Ask(now)
	l.cadence.asked(time.Now())
	if err := b.Publish(events.ProofSubject(l.cfg.Service), inbox, body); err != nil && l.ctx.Err() == nil {
		l.log.Debug("question not sent", "error", err)
	}
}

// untilNext returns when to look around again if nothing happens.
func (l *Link) untilNext(b bus) time.Duration {
	next := lookEvery
	if !b.Connected() {
		return next
	}
	if l.renew.Load() {
		return flushAgain
	}
	next = min(next, max(l.cadence.wait(time.Now()), time.Millisecond))
	if due, ok := l.catchUps.due(l.follower, l.cfg.Clock.Now()); ok {
		next = min(next, max(due, time.Millisecond))
	}
	return next
}

// forget lets the set drop what is past until, now and then.
func (l *Link) forget() {
	fresh := l.Fresh()
	if fresh == nil || time.Since(l.forgotten) < forgetEvery {
		return
	}
	l.forgotten = time.Now()
	l.cfg.Set.Forget(fresh.Past(l.cfg.Clock.Now()), fresh.Now)
}

// tellState logs when the verifier becomes fresh or stale.
func (l *Link) tellState() {
	now := l.cfg.Clock.Now()
	state := l.follower.State(now)
	if state == l.state {
		return
	}
	l.state = state
	stats := l.follower.Stats()
	if state == events.StateFresh {
		l.log.Info("the feed is proven", "state", state, "epoch", stats.Epoch, "applied", stats.Applied)
		return
	}
	l.log.Warn("the feed isn't proven any more", "state", state, "applied", stats.Applied, "head", stats.Head)
}

// read takes messages from a subscription until the link is closed. Nothing else may end it: without answers the
// verifier could never be fresh again.
func (l *Link) read(sub subscription, take func(*nats.Msg)) {
	defer sub.Unsubscribe()
	for {
		m, err := sub.Next(l.ctx)
		switch {
		case err == nil:
			take(m)
		case l.ctx.Err() != nil:
			return
		case errors.Is(err, errDropped):
			l.cadence.hurry()
			l.rouse()
		case errors.Is(err, errClosed):
			l.log.Error("the connection to NATS was closed for good", "error", err)
			return
		default:
			l.log.Warn("no message from NATS", "error", err)
			pause(l.ctx, readAgain)
		}
	}
}

// live takes a message of the live feed.
func (l *Link) live(m *nats.Msg) {
	batch, applied, err := l.take(m)
	if err != nil {
		l.log.Debug("message of the live feed dropped", "error", err)
		return
	}
	if batch.Ack && applied.Advanced {
		l.cadence.hurry() // somebody waits to hear that it is applied
		l.rouse()
	}
}

// take verifies, decodes and applies a message of the feed, wherever it comes from.
func (l *Link) take(m *nats.Msg) (events.Batch, follower.Applied, error) {
	if err := l.verify(events.KindFeed, m); err != nil {
		return events.Batch{}, follower.Applied{}, err
	}
	batch, err := events.DecodeBatch(m.Data)
	if err != nil {
		l.counts.bad.Add(1)
		return events.Batch{}, follower.Applied{}, err
	}
	return batch, l.apply(batch), nil
}

// apply gives a batch to the follower.
func (l *Link) apply(batch events.Batch) follower.Applied {
	applied := l.follower.Batch(batch, l.cfg.Clock.Now())
	if applied.Accepted {
		l.propagated.proven(l.Fresh())
	}
	if applied.KeysChanged {
		l.tokens.wanted.Store(true)
		l.rouse()
	}
	l.changed()
	return applied
}

func (l *Link) verify(kind events.Kind, m *nats.Msg) error {
	err := l.feedKeys.verify(kind, m.Header.Get(events.HeaderKey), m.Header.Get(events.HeaderSignature), m.Data)
	if err == nil || defect.Signature {
		return nil
	}
	l.counts.bad.Add(1)
	return err
}

// answer takes a message that came to the inbox of questions.
func (l *Link) answer(m *nats.Msg) {
	if m.Header.Get(events.HeaderStatus) != "" {
		l.cadence.nobody()
		l.rouse()
		return
	}
	if err := l.takeAnswer(m); err != nil {
		l.log.Debug("answer dropped", "error", err)
	}
}

func (l *Link) takeAnswer(m *nats.Msg) error {
	if err := l.verify(events.KindProof, m); err != nil {
		return err
	}
	a, err := events.DecodeProofAnswer(m.Data)
	if err != nil {
		l.counts.bad.Add(1)
		return err
	}
	accepted, err := l.follower.Answer(a, l.cfg.Clock.Now())
	if err != nil {
		return err
	}
	l.cadence.answered()
	if accepted {
		l.propagated.proven(l.Fresh())
		l.changed()
	}
	l.rouse() // the time of the next question, or of a catch-up, has changed
	return nil
}
