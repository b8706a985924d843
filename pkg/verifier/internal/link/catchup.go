package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/defect"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
)

const (
	// catchUpMargin is read before the last applied event: the stream's clock isn't the database's. If it is too
	// little, a hole stays, and the snapshot fills it.
	catchUpMargin = time.Minute
	// firstLook is how far back a first start looks; what lives longer than that is rare.
	firstLook  = time.Hour
	maxBackOff = 750 * time.Millisecond
	// newerBackOff is the longest when what is missing needs a newer release of this program: then only the floor, or
	// being replaced, helps.
	newerBackOff = 15 * time.Second
	// pageTimeout is short for the same reason as batchTimeout: of several replicas one may be silent. Each further try
	// waits twice as long as the one before: it may be that there is much to do.
	pageTimeout = 500 * time.Millisecond
	pageTries   = 4 // without any answer
	pageRetries = 20
	// Of the pause before authsvc, which was busy, is asked again: the first one and the longest.
	busyPause, longestBusyPause = 10 * time.Millisecond, 400 * time.Millisecond
)

var errNewer = errors.New("an event that this release doesn't understand")

// The places from which events can be read again, as they are counted.
const (
	sourceCompact  = "compact"
	sourceStream   = "stream"
	sourceSnapshot = "snapshot"
)

// Why something has to be read again, as it is counted.
const (
	causeStart     = "start"     // nothing was ever proven
	causeEpoch     = "epoch"     // authsvc has opened another epoch
	causeMismatch  = "mismatch"  // what was read contradicts an answer
	causeReconnect = "reconnect" // nothing was proven on this connection yet
	causeGap       = "gap"       // messages were lost on the way
)

// catchUps is the state of reading again. The owner starts at most one.
type catchUps struct {
	mu       sync.Mutex
	running  bool
	failures int
	notUntil time.Time
	bySource map[string]uint64
	byCause  map[string]uint64
	errors   uint64
	subject  string // of Direct Get, once one has worked
	manyFrom uint64 // how many missing events are read as compact pages
}

// due returns in how much time a catch-up may begin.
func (c *catchUps) due(f *follower.Follower, now clock.Reading) (time.Duration, bool) {
	wait, needed := f.CatchUpDue(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !needed || c.running {
		return 0, false
	}
	return max(wait, time.Until(c.notUntil)), true
}

// begin reports whether a catch-up may begin now.
func (c *catchUps) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running || time.Now().Before(c.notUntil) {
		return false
	}
	c.running = true
	return true
}

// end notes the outcome and how long to leave the others alone.
func (c *catchUps) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = false
	if err == nil {
		c.failures, c.notUntil = 0, time.Time{}
		return
	}
	c.errors++
	c.failures++
	longest := maxBackOff
	if errors.Is(err, errNewer) {
		longest = newerBackOff
	}
	backOff := min(50*time.Millisecond<<min(c.failures, 10), longest)
	c.notUntil = time.Now().Add(jitter(backOff))
}

// forgive lets the next catch-up begin at once: the failures were those of another connection.
func (c *catchUps) forgive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures, c.notUntil = 0, time.Time{}
}

func (c *catchUps) count(source string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bySource == nil {
		c.bySource = make(map[string]uint64)
	}
	c.bySource[source]++
}

func (c *catchUps) countCause(cause string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byCause == nil {
		c.byCause = make(map[string]uint64)
	}
	c.byCause[cause]++
}

// cause tells why something has to be read again.
func (l *Link) cause(need follower.CatchUp) string {
	switch fresh := l.Fresh(); {
	case fresh == nil:
		return causeStart
	case need.Distrust:
		return causeMismatch
	case need.Epoch != fresh.Epoch:
		return causeEpoch
	case fresh.Since.Boot < l.counts.connectedAt.Load():
		return causeReconnect
	}
	return causeGap
}

// catchUpIfDue starts reading what an answer has waited for.
func (l *Link) catchUpIfDue(b bus) {
	need, due := l.follower.CatchUp(l.cfg.Clock.Now())
	if !due || !l.catchUps.begin() {
		return
	}
	ctx := l.session.context()
	l.tasks.Go(func() {
		err := l.catchUp(ctx, b, need)
		l.catchUps.end(err)
		if err != nil && l.ctx.Err() == nil {
			l.log.Warn("catching up isn't done", "epoch", need.Epoch, "from", need.From, "to", need.To, "error", err)
		}
		l.rouse()
	})
}

// catchUp reads what is missing: much of it as compact pages from authsvc; then the stream, unless what was read last was a
// branch; and what that lacks as ordinary pages.
func (l *Link) catchUp(ctx context.Context, b bus, need follower.CatchUp) error {
	cause := l.cause(need)
	if defect.CatchUp && cause != causeStart {
		return nil
	}
	l.catchUps.countCause(cause)
	l.log.Info("catching up", "cause", cause, "epoch", need.Epoch, "from", need.From, "to", need.To)
	need, due := l.readMany(ctx, b, need)
	if !due {
		return nil
	}
	var streamErr error
	if !need.Distrust {
		l.catchUps.count(sourceStream)
		if streamErr = l.readStream(ctx, b, need); l.upToDate() {
			return nil
		}
	}
	l.catchUps.count(sourceSnapshot)
	if err := l.readSnapshot(ctx, b); err != nil {
		return errors.Join(streamErr, err)
	}
	return nil
}

// readMany reads compact pages if much is missing, and returns what is missing then.
func (l *Link) readMany(ctx context.Context, b bus, need follower.CatchUp) (follower.CatchUp, bool) {
	if need.To-need.From+1 < l.catchUps.manyFrom {
		return need, true
	}
	l.catchUps.count(sourceCompact)
	err := l.readCompact(ctx, b, need)
	need, due := l.follower.CatchUp(l.cfg.Clock.Now())
	if err != nil && due && l.ctx.Err() == nil {
		l.log.Warn("not all that is missing came as compact pages; going on without", "from", need.From, "to", need.To, "error", err)
	}
	return need, due
}

func (l *Link) upToDate() bool {
	_, due := l.follower.CatchUp(l.cfg.Clock.Now())
	return !due
}

// readSnapshot reads pages from authsvc until no answer waits any more.
func (l *Link) readSnapshot(ctx context.Context, b bus) error {
	last := follower.CatchUp{}
	for {
		need, due := l.follower.CatchUp(l.cfg.Clock.Now())
		if !due {
			return nil
		}
		if need.Epoch == last.Epoch && need.From == last.From {
			return fmt.Errorf("the page from %d brought nothing", need.From)
		}
		if err := l.readPage(ctx, b, need); err != nil {
			return err
		}
		last = need
	}
}

// readPage reads one page.
func (l *Link) readPage(ctx context.Context, b bus, need follower.CatchUp) error {
	m, err := l.fetchPage(ctx, b, events.SnapshotRequest{Epoch: need.Epoch, From: need.From})
	if err != nil {
		return err
	}
	return l.takePage(m, need.From)
}

// fetchPage asks for a page, and again while authsvc is busy.
func (l *Link) fetchPage(ctx context.Context, b bus, request events.SnapshotRequest) (*nats.Msg, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	for try := range pageRetries {
		m, err := l.askPage(ctx, b, body)
		if err != nil {
			return nil, err
		}
		switch refusal := m.Header.Get(events.HeaderError); refusal {
		case "":
			return m, nil
		case events.ErrorBusy:
			if !pause(ctx, jitter(min(busyPause<<try, longestBusyPause))) {
				return nil, ctx.Err()
			}
		default:
			return nil, fmt.Errorf("snapshot from %d: %s", request.From, refusal)
		}
	}
	return nil, fmt.Errorf("snapshot from %d: still busy", request.From)
}

// takePage applies a page, and says so if what is missing first can't be applied by this release.
func (l *Link) takePage(m *nats.Msg, from uint64) error {
	batch, _, err := l.take(m)
	if err != nil {
		return err
	}
	for _, e := range batch.Events {
		if u, unknown := e.Payload.(events.Unknown); unknown && !u.Ignorable && e.Seq == from {
			return fmt.Errorf("%w: %d, %q", errNewer, from, u.Name)
		}
	}
	return nil
}

func (l *Link) askPage(ctx context.Context, b bus, request []byte) (*nats.Msg, error) {
	for try := 1; ; try++ {
		asking, cancel := context.WithTimeout(ctx, pageTimeout<<(try-1))
		m, err := b.Request(asking, events.SnapshotSubject(l.cfg.Service), request)
		silent := asking.Err() != nil
		cancel()
		switch {
		case err == nil:
			return m, nil
		case !silent || ctx.Err() != nil || try == pageTries:
			return nil, fmt.Errorf("ask for a snapshot: %w", err)
		}
	}
}
