package feed

import (
	"context"
	"errors"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// run is the only goroutine that uses the dispatcher.
func (f *Feed) run(ctx context.Context) {
	l := loop{Feed: f, timer: time.NewTimer(0)}
	defer l.timer.Stop()
	for l.turn(ctx) {
	}
}

// loop is the state of run.
type loop struct {
	*Feed
	timer *time.Timer
	// next is when the timer ends, stepped when the last round ended.
	next, stepped time.Time
	// failing makes it wait for the timer, whatever is to be done.
	failing bool
	// attempts counts looks at the stream before the first step.
	attempts    int
	examined    bool
	inspecting  bool
	inspected   time.Time
	importing   bool
	importTried time.Time
	told        uint64 // what the others know to be published
	toldEpoch   string
}

// turn waits for something to do and does it; it returns false at the end.
func (l *loop) turn(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		l.awaitInspection()
		if l.importing {
			<-l.imported
		}
		return false
	case <-l.timer.C:
		l.step(ctx)
	case <-l.wake:
		if !l.failing {
			l.step(ctx)
		}
	case <-l.asked:
		if wait := roundEvery - time.Since(l.stepped); wait > 0 || l.failing {
			l.stepBy(wait)
		} else {
			l.step(ctx)
		}
	case <-l.acked:
		l.pump(ctx)
	case o := <-l.observed:
		l.observe(ctx, o)
	case o := <-l.imported:
		l.takeImported(ctx, o)
	}
	l.inspectWhenDue(ctx)
	l.importWhenDue(ctx)
	l.tellPublished()
	return true
}

// step takes what has arrived and does one round.
func (l *loop) step(ctx context.Context) {
	requests, more := l.inbox.take(answersPerStep)
	next := tickEvery
	if l.examineFirst(ctx) {
		err := l.dispatcher.Step(ctx, requests)
		if errors.Is(err, store.ErrLeaseHeld) {
			next = min(next, max(l.dispatcher.heldFor, 5*time.Millisecond))
		}
		l.check(ctx, err)
		switch {
		case l.failing:
			next = retryEvery
		case err == nil && more:
			next = moreEvery
		}
	}
	l.stepped = time.Now()
	l.next = l.stepped.Add(next)
	l.timer.Reset(next)
}

// stepBy brings the next round forward, unless rounds are failing.
func (l *loop) stepBy(wait time.Duration) {
	if at := time.Now().Add(wait); !l.failing && at.Before(l.next) {
		l.next = at
		l.timer.Reset(wait)
	}
}

// check notes the outcome of a round; while rounds fail, only the timer starts the next.
func (l *loop) check(ctx context.Context, err error) {
	if errors.Is(err, store.ErrLeaseHeld) || ctx.Err() != nil {
		err = nil
	}
	if err != nil {
		l.dispatcher.stats.stepFailed()
	}
	if err != nil && !l.failing {
		l.cfg.Log.Warn("the dispatcher can't go on; trying again", "error", err)
	}
	if err == nil && l.failing {
		l.cfg.Log.Info("the dispatcher goes on")
	}
	l.failing = err != nil
}

// pump goes on with the stream; what fails is tried again in the next round.
func (l *loop) pump(ctx context.Context) {
	if err := l.dispatcher.Pump(ctx); err != nil {
		l.cfg.Log.Debug("the stream has to wait", "error", err)
	}
}

// examineFirst looks at the end of the stream before this process, which has no memory yet, takes part: it may show that
// the database has lost commits. A stream that can't be looked at must not keep the fleet from proofs, so it gives up soon.
func (l *loop) examineFirst(ctx context.Context) bool {
	if l.examined || !l.cfg.FeedUp() {
		return l.examined
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	state, err := l.bus.inspect(ctx, true, false)
	l.attempts++
	l.dispatcher.streamAway(looking, err)
	if err == nil {
		l.dispatcher.Observe(state)
	}
	if l.examined = err == nil || l.attempts == 2; err != nil && l.examined {
		l.dispatcher.Blind()
	}
	l.looked.Store(l.examined)
	return l.examined
}

// inspectWhenDue looks at the stream beside everything else.
func (l *loop) inspectWhenDue(ctx context.Context) {
	if l.inspecting || !l.Holding() || (time.Since(l.inspected) < inspectEvery && !l.dispatcher.NeedsTail()) {
		return
	}
	if l.failing && time.Since(l.inspected) < inspectEvery {
		return
	}
	l.inspecting, l.inspected = true, time.Now()
	tail, since := l.dispatcher.NeedsTail(), l.dispatcher.StreamSeq()
	l.running.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, ackTimeout)
		defer cancel()
		state, err := l.bus.inspect(ctx, tail, true)
		state.Since = since
		l.observed <- observation{state: state, err: err} // there is room: one looks at a time
	})
}

func (l *loop) observe(ctx context.Context, o observation) {
	l.inspecting = false
	if ctx.Err() == nil {
		l.dispatcher.streamAway(looking, o.failure())
	}
	if o.err != nil {
		return
	}
	l.dispatcher.Observe(o.state)
	l.pump(ctx)
}

// errFrozen means that the stream can be looked at, and takes nothing.
var errFrozen = errors.New("too few of its nodes are there")

func (o observation) failure() error {
	if o.err == nil && o.state.Frozen {
		return errFrozen
	}
	return o.err
}

func (l *loop) awaitInspection() {
	if l.inspecting {
		<-l.observed
	}
}

// tellPublished lets receipts on other replicas know without asking the database.
func (l *loop) tellPublished() {
	s := l.progress.standing()
	if l.Holding() && s.published > 0 && (s.published != l.told || s.epoch != l.toldEpoch) {
		l.told, l.toldEpoch = s.published, s.epoch
		l.tell(nudge{Epoch: s.epoch, Published: s.published})
	}
}

// listen tells the fleet whether all proof requests are heard.
func (f *Feed) listen(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-f.unheard:
		}
		f.hear(ctx)
	}
}

// hear compares what the connection has been through since the last call.
func (f *Feed) hear(ctx context.Context) {
	now := f.hearing()
	if f.heard.intact && now == f.heard.link {
		f.goOnHearing(ctx)
		return
	}
	f.Fleet.Deaf()
	f.heard.link, f.heard.intact = now, false
	if f.takeIn(ctx) {
		f.Fleet.Hearing()
		f.heard.intact = true
	}
}

// goOnHearing confirms that what the bus had has been heard, but for what waits to be decoded. After a pause of this process
// it takes the queue of the client to be empty, too; at other times what is in there came just now.
func (f *Feed) goOnHearing(ctx context.Context) {
	at, behind := time.Now(), f.Fleet.behind()
	if !f.takeIn(ctx) {
		return
	}
	if waiting, _, err := f.proofs.Pending(); !behind || (err == nil && waiting == 0) {
		f.Fleet.StillHearing(f.arrivals.since(at))
	}
}

// takeIn returns true once everything that the bus had for us is here, unless the connection has changed since it was
// looked at.
func (f *Feed) takeIn(ctx context.Context) bool {
	if !f.cfg.ReplyUp() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err := f.cfg.Granted(ctx)
	if err == nil && f.hearing() != f.heard.link {
		return false
	}
	if f.ear.note(err, time.Now()) {
		signal(f.wake) // the lease may wait for this
	}
	return err == nil
}

// link is what changes when requests are missed.
type link struct {
	connected  bool
	reconnects uint64
	dropped    int
}

func (f *Feed) hearing() link {
	if !f.cfg.ReplyUp() {
		return link{}
	}
	dropped, err := f.proofs.Dropped()
	return link{connected: err == nil, reconnects: f.cfg.Reply.Stats().Reconnects, dropped: dropped}
}

// keepHouse prunes, and calls the owner's housekeeping, while this process is the dispatcher.
func (f *Feed) keepHouse(ctx context.Context) {
	tick := time.NewTicker(housekeepingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !f.Holding() {
			continue
		}
		if err := f.prune(ctx); err != nil && ctx.Err() == nil {
			f.cfg.Log.Warn("pruning failed", "error", err)
		}
		if f.cfg.Housekeeping == nil {
			continue
		}
		if err := f.cfg.Housekeeping(ctx); err != nil && ctx.Err() == nil {
			f.cfg.Log.Warn("housekeeping failed", "error", err)
		}
	}
}

// prune deletes events that have lapsed and that nobody reads any more, by what the database says of itself: what this process
// remembers may be of another epoch, or of a time before the database was set back.
func (f *Feed) prune(ctx context.Context) error {
	now, err := f.cfg.DB.FeedUnpublished(ctx)
	for more := err == nil; more && err == nil; {
		more, err = f.cfg.DB.PruneEvents(ctx, now.Epoch, prunable(now))
	}
	return err
}

// prunable returns the seq below which events may go: whole pages are kept, what the next term would publish, and of both
// the event before the first, because its chain is what a message of them begins with.
func prunable(now store.Lease) uint64 {
	return min(compactPageOf(now.Floor)-1, max(now.Unpublished, 1)-1)
}
