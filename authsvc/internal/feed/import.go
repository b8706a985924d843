package feed

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	// importMargin is how much earlier than the database's last event the stream is read: twice the largest step that the
	// database's clock may make, for what the clocks of the two differ.
	importMargin = 2 * events.KeyRetention
	// importPatience is how long proofs are withheld while an import doesn't get on.
	importPatience = 10 * time.Second
	// importRetry is how soon an import that failed is tried again.
	importRetry = time.Second
	// importBatch is how many events are given to the database at once.
	importBatch = 200
	// maxStretches bounds what is remembered of holes in the stream.
	maxStretches = 10_000
)

// ImportDue tells since when the stream is to be read for commits that the database has lost, in this term.
func (d *Dispatcher) ImportDue() (i ImportTask, due bool) {
	if d.term == nil || d.term.importFrom == 0 {
		return i, false
	}
	return ImportTask{Term: d.term.number, Epoch: d.term.at.Epoch, Since: d.term.importFrom, After: d.term.importAfter}, true
}

// ImportTask is an import that is due in a term.
type ImportTask struct {
	Term  int64
	Epoch string // the one that was opened for it
	Since int64  // microseconds of the database's clock
	// After is the last event that the database is known not to have lost. Its At, or that of its epoch, is Since.
	After store.FeedPlace
}

// ImportGoesOn is called when an import got on; from any goroutine.
func (d *Dispatcher) ImportGoesOn() { d.gotOn.Store(true) }

// Imported ends an import that was due in a term. Proofs are given again.
func (d *Dispatcher) Imported(ctx context.Context, term int64) error {
	if d.term == nil || d.term.number != term {
		return nil // the next holder reads the stream again
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := d.cfg.Journal.FinishImport(ctx, term); err != nil {
		return err
	}
	d.term.importFrom = 0
	d.withhold(0)
	return nil
}

// withhold decides whether an import holds proofs back: while it gets on, and for importPatience when it doesn't. Who has
// given up once doesn't begin again before the import is through: a fleet that is refused by turns is worse off than either.
func (d *Dispatcher) withhold(importFrom int64) bool {
	now := d.cfg.Clock.Now()
	gotOn := d.gotOn.Swap(false)
	switch {
	case importFrom == 0:
		d.waiting, d.gaveUp = time.Time{}, false
	case d.waiting.IsZero(), gotOn && !d.gaveUp:
		d.waiting = now
	case !d.gaveUp && now.Sub(d.waiting) >= importPatience:
		d.gaveUp = true
		d.cfg.Log.Error("what the database has lost can't be read from the stream; going on without it, and trying again")
	}
	withheld := importFrom != 0 && !d.gaveUp
	d.stats.importing(importFrom != 0, withheld)
	return withheld
}

// Blind says that the end of the stream couldn't be seen before the first step. Nothing is stored until it was: it would
// hide what the stream tells of commits that the database has lost.
func (d *Dispatcher) Blind() { d.blind = true }

// unblind takes the stream's end for evidence, late: what this process has numbered meanwhile may have the same numbers, so
// it takes a term to compare with.
func (d *Dispatcher) unblind(tail store.FeedPosition) {
	if d.term == nil {
		return
	}
	d.blind = false
	if tail.Head > 0 && tail.Epoch == d.term.at.Epoch {
		d.known = tail
		d.giveUp() // the next term asks the database whether it holds the tail
	}
}

// imported is the outcome of one import.
type imported struct {
	term int64
	importReport
	err error
}

// importReport is what an import found.
type importReport struct {
	store.Imported
	messages, foreign int
	// whole says that the stream held everything since the time that was asked for: nothing that it ever had is missing.
	whole bool
	// keys are the hashes of token keys that each epoch announced last, after what the database still had.
	keys []events.Hash
}

// importWhenDue reads the stream beside everything else.
func (l *loop) importWhenDue(ctx context.Context) {
	task, due := l.dispatcher.ImportDue()
	if !due || l.importing || time.Since(l.importTried) < importRetry {
		return
	}
	l.importing, l.importTried = true, time.Now()
	l.cfg.Log.Warn("the database has lost commits; reading from the stream what it tells of them", "since", time.UnixMicro(task.Since).UTC())
	l.running.Go(func() {
		report, err := l.importStream(ctx, task)
		l.imported <- imported{term: task.Term, importReport: report, err: err} // there is room: one reads at a time
	})
}

// takeImported ends an import, or lets it be tried again.
func (l *loop) takeImported(ctx context.Context, o imported) {
	l.importing = false
	l.dispatcher.stats.imported(o.Imported)
	if o.err == nil {
		o.err = l.restored(ctx, o)
	}
	if o.err == nil {
		o.err = l.dispatcher.Imported(ctx, o.term)
	}
	if o.err != nil {
		l.cfg.Log.Warn("the stream couldn't be imported; trying again", "error", o.err)
		return
	}
	l.cfg.Log.Warn("imported from the stream what the database had lost", "messages", o.messages, "events", o.Events,
		"forgotten_by_the_tables", o.Effects, "unverifiable", o.foreign, "complete", o.whole)
	if !o.whole {
		l.dispatcher.stats.incomplete()
		l.cfg.Log.Error("the stream doesn't hold everything since the backup: what is missing is unknown; revoke everything to be sure")
	}
	signal(l.wake)
}

// restored lets the owner do what isn't in the feed's tables.
func (l *loop) restored(ctx context.Context, o imported) error {
	if l.cfg.Restored == nil {
		return nil
	}
	return l.cfg.Restored(ctx, o.keys)
}

// importStream reads the stream since a time of the database's clock and gives the database what it lacks.
func (f *Feed) importStream(ctx context.Context, task ImportTask) (importReport, error) {
	start := time.UnixMicro(task.Since).UTC()
	if task.Since > importMargin.Microseconds() {
		start = start.Add(-importMargin)
	}
	r := reader{Feed: f, task: task, seen: map[string]*stretches{}, announced: map[string]announcement{}}
	r.dispatcher.ImportGoesOn()
	e, err := f.bus.history(ctx, start, func(m *nats.Msg) error { return r.take(ctx, m) })
	err = errors.Join(err, r.flush(ctx))
	r.keys = r.keysAnnounced()
	r.whole = r.foreign == 0 && e.reaches(time.UnixMicro(task.Since)) && r.unbroken()
	return r.importReport, err
}

// reader is one import under way.
type reader struct {
	*Feed
	importReport
	task    ImportTask
	waiting []store.SignedEvent
	// Both by epoch: the seqs that were read, and the token keys that were announced last.
	seen      map[string]*stretches
	announced map[string]announcement
}

// announcement is an event that announced a set of token keys.
type announcement struct {
	seq  uint64
	keys events.Hash
}

// take collects the events of a message that one of our feed keys signed.
func (r *reader) take(ctx context.Context, m *nats.Msg) error {
	r.messages++
	batch := r.bus.authenticBatch(m.Header.Get(events.HeaderKey), m.Header.Get(events.HeaderSignature), m.Data)
	if batch == nil {
		r.foreign++
		return nil
	}
	if r.seen[batch.Epoch] == nil {
		r.seen[batch.Epoch] = &stretches{}
	}
	r.seen[batch.Epoch].add(batch.FirstSeq(), batch.LastSeq())
	for _, e := range batch.Events {
		r.noteKeys(batch.Epoch, e)
		r.waiting = append(r.waiting, store.SignedEvent{Epoch: batch.Epoch, Event: e})
	}
	if len(r.waiting) >= importBatch {
		return r.flush(ctx)
	}
	return nil
}

// noteKeys remembers the set of token keys that an epoch announced last, after what the backup holds and before the task's own
// epoch. Numbers tell what came after: the clock may have been set back. Each epoch counts for itself, since one that was opened
// for an import which didn't get through begins with what the backup holds, announced again, whatever had come before it.
func (r *reader) noteKeys(epoch string, e events.Event) {
	changed, ok := e.Payload.(events.KeysChanged)
	if !ok || epoch >= r.task.Epoch || !r.task.After.Before(store.FeedPlace{Epoch: epoch, Seq: e.Seq}) {
		return
	}
	if e.Seq > r.announced[epoch].seq {
		r.announced[epoch] = announcement{e.Seq, changed.Hash}
	}
}

func (r *reader) keysAnnounced() (all []events.Hash) {
	for _, a := range r.announced {
		all = append(all, a.keys)
	}
	return all
}

func (r *reader) flush(ctx context.Context) error {
	done, err := r.cfg.DB.ImportEvents(ctx, r.waiting)
	r.Imported, r.waiting = r.Imported.Add(done), nil
	if err == nil {
		r.dispatcher.ImportGoesOn()
	}
	return err
}

func (r *reader) unbroken() bool {
	for _, s := range r.seen {
		if !s.unbroken() {
			return false
		}
	}
	return true
}

// stretches are the seqs of an epoch that were read.
type stretches struct{ all []stretch }

type stretch struct{ first, last uint64 }

func (s *stretches) add(first, last uint64) {
	if n := len(s.all); n > 0 && s.all[n-1].first <= first && first <= s.all[n-1].last+1 {
		s.all[n-1].last = max(s.all[n-1].last, last)
		return
	}
	if len(s.all) < maxStretches {
		s.all = append(s.all, stretch{first, last})
	}
}

// unbroken reports whether there is no hole between them.
func (s *stretches) unbroken() bool {
	slices.SortFunc(s.all, func(a, b stretch) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	end := s.all[0].last
	for _, next := range s.all {
		if next.first > end+1 {
			return false
		}
		end = max(end, next.last)
	}
	return len(s.all) < maxStretches
}
