// Package feedtest lets tests drive a real dispatcher over a store, a bus and a clock in memory: deterministic, one
// thread, with a fault wherever a test wants one. Nothing here is safe for concurrent use.
package feedtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Clock is a clock that stands until it is moved. It is the database's too.
type Clock struct{ now time.Time }

// NewClock returns a clock at a fixed time.
func NewClock() *Clock { return &Clock{now: time.Unix(1_800_000_000, 0)} }

// Now implements feed.Clock.
func (c *Clock) Now() time.Time { return c.now }

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) { c.now = c.now.Add(d) }

func (c *Clock) micro() int64 { return c.now.UnixMicro() }

// Row is an event of a journal.
type Row struct {
	ID        string
	Payload   events.Payload
	Epoch     string // "" until numbered
	At, Until int64
	Published bool
	store.FeedRow
}

// Journal is a numbering store in memory. It keeps what store.DB promises.
type Journal struct {
	Clock *Clock
	// Until is when an event of a time has lapsed, both in microseconds. Default: after events.KeyRetention.
	Until func(now int64) int64
	// Limit is how many events one transaction numbers. Default: all.
	Limit int
	// Keys is the hash of the token keys.
	Keys events.Hash
	// FeedKeys are the kids of the feed keys that it has or had.
	FeedKeys []string
	// Imports makes it ask for an import where commits were lost, as a database does.
	Imports bool
	// Defects are what tests take away from it.
	Defects JournalDefects

	rows   []*Row
	ids    int
	epochs int // ever opened: it outlives a restore, as the time in a UUIDv7 does
	state  state
}

type state struct {
	issuer, holder string
	store.FeedPosition
	floor     uint64
	term      int64
	until     int64
	maxBound  int64
	streamKey string
	// importFrom and importAfter outlive the term in which they were set, until FinishImport.
	importFrom  int64
	importAfter store.FeedPlace
}

// NewJournal returns an empty journal.
func NewJournal(clock *Clock) *Journal {
	return &Journal{Clock: clock, Until: func(now int64) int64 { return now + events.KeyRetention.Microseconds() }}
}

// Commit adds an event as a writer's transaction does, and returns its id.
func (j *Journal) Commit(p events.Payload) string {
	id := j.Begin()
	j.CommitAs(id, p)
	return id
}

// Begin gives a writer's transaction the id of its event. Transactions that begin early may commit late.
func (j *Journal) Begin() string {
	j.ids++
	return fmt.Sprintf("00000000-0000-7000-8000-%012d", j.ids)
}

// CommitAs commits an event under an id from [Journal.Begin].
func (j *Journal) CommitAs(id string, p events.Payload) {
	j.rows = append(j.rows, &Row{ID: id, Payload: p})
}

// Row returns an event.
func (j *Journal) Row(id string) Row {
	for _, r := range j.rows {
		if r.ID == id {
			return *r
		}
	}
	return Row{}
}

// Rows returns all events in the order of their commits.
func (j *Journal) Rows() (all []Row) {
	for _, r := range j.rows {
		all = append(all, *r)
	}
	return all
}

// Backup returns a copy that [Journal.Restore] takes.
func (j *Journal) Backup() *Journal {
	b := *j
	b.rows = nil
	for _, r := range j.rows {
		kept := *r
		b.rows = append(b.rows, &kept)
	}
	return &b
}

// Restore makes the journal what it was at a backup: all commits since are lost.
func (j *Journal) Restore(b *Journal) {
	kept := b.Backup()
	j.rows, j.state = kept.rows, kept.state // ids go on: no two events share one
}

// AcquireFeed implements feed.Journal.
func (j *Journal) AcquireFeed(_ context.Context, r store.LeaseRequest) (store.Lease, error) {
	s, now := &j.state, j.Clock.micro()
	left := s.until - now // one that is longer than any was taken before the clock was set back
	if !r.Alone && s.holder != r.Holder && 0 < left && left < 2*r.Life.Microseconds() {
		return j.lease(), store.ErrLeaseHeld
	}
	cause := j.epochEnds(r)
	first := s.Epoch == ""
	if j.Imports && cause == "database regressed" {
		j.askForImport(r.Known)
	}
	if cause != "" {
		if r.TailKey != "" {
			j.FeedKeys = append(j.FeedKeys, r.TailKey)
		}
		s.issuer, s.Epoch, s.Head, s.floor = r.Issuer, j.laterEpoch(r.Known.Epoch), 0, 1
		s.Chain = events.ChainStart(s.issuer, s.Epoch)
	}
	s.holder, s.term, s.until = r.Holder, s.term+1, now+r.Life.Microseconds()
	l := j.lease()
	l.First, l.Opened, l.Cause = first, cause != "", cause
	l.Unpublished = j.unpublished()
	return l, nil
}

// askForImport knows no time, so all of the stream is asked for.
func (j *Journal) askForImport(known store.FeedPosition) {
	s := &j.state
	switch {
	case known.Epoch == s.Epoch && known.Head <= s.Head:
		s.importAfter = store.FeedPlace{}
	case s.importFrom == 0:
		s.importAfter = store.FeedPlace{Epoch: s.Epoch, Seq: j.unpublished() - 1}
	}
	s.importFrom = 1
}

func (j *Journal) lease() store.Lease {
	s := j.state
	return store.Lease{Term: s.term, FeedPosition: s.FeedPosition, Floor: s.floor, MaxBound: s.maxBound, StreamKey: s.streamKey, Until: s.until, Now: j.Clock.micro(),
		ImportFrom: s.importFrom, ImportAfter: s.importAfter}
}

func (j *Journal) epochEnds(r store.LeaseRequest) string {
	s, known := j.state, r.Known
	switch {
	case s.Epoch == "":
		return "first"
	case r.TailKey != "" && !slices.Contains(j.FeedKeys, r.TailKey):
		return "database regressed"
	case s.issuer != r.Issuer:
		return "issuer changed"
	case known.Epoch == "" || known.Epoch < s.Epoch || (known.Epoch == s.Epoch && known.Head <= s.Head && j.chainAt(known.Head) == known.Chain):
		return ""
	}
	return "database regressed"
}

func (j *Journal) chainAt(seq uint64) events.Hash {
	for _, r := range j.rows {
		if r.Epoch == j.state.Epoch && r.Seq == seq {
			return r.Chain
		}
	}
	return events.ChainStart(j.state.issuer, j.state.Epoch)
}

// laterEpoch returns one that is greater than every one before and than one that somebody knows of.
func (j *Journal) laterEpoch(known string) string {
	n := 0
	if known != "" {
		if _, err := fmt.Sscanf(known, "0000000e-0000-7000-8000-%d", &n); err != nil {
			panic(err)
		}
	}
	j.epochs = max(j.epochs, n) + 1
	return fmt.Sprintf("0000000e-0000-7000-8000-%012d", j.epochs)
}

func (j *Journal) unpublished() uint64 {
	lowest := j.state.Head + 1
	for _, r := range j.rows {
		if r.Epoch == j.state.Epoch && !r.Published {
			lowest = min(lowest, r.Seq)
		}
	}
	return lowest
}

// NumberEvents implements feed.Journal.
func (j *Journal) NumberEvents(_ context.Context, r store.NumberRequest) (store.Numbered, error) {
	s, now := &j.state, j.Clock.micro()
	switch {
	case j.Defects.Unfenced:
		s.FeedPosition = r.At
	case s.term < r.Term || s.Head < r.At.Head || (s.Head == r.At.Head && s.Epoch == r.At.Epoch && s.Chain != r.At.Chain):
		return store.Numbered{}, store.ErrRegressed
	case s.term > r.Term || s.Epoch != r.At.Epoch || s.Head > r.At.Head:
		return store.Numbered{}, store.ErrFenced
	}
	n := store.Numbered{Prev: s.Chain, Keys: j.Keys, Now: now}
	for _, row := range j.rows {
		if row.Epoch == s.Epoch || (row.Epoch != "" && (row.Until <= now || !r.CarryOver)) || j.passedOver(row) {
			continue
		}
		if n.More = j.Limit > 0 && len(n.Rows) == j.Limit; n.More {
			break
		}
		if err := j.number(row); err != nil {
			return store.Numbered{}, err
		}
		n.Rows = append(n.Rows, row.FeedRow)
	}
	j.mark(r.PublishedTo)
	s.maxBound, s.until = max(s.maxBound, r.Bound), now+r.Life.Microseconds()
	s.floor = max(s.floor, j.lowestLive())
	s.streamKey = cmp.Or(r.StreamKey, s.streamKey)
	j.damage(&n)
	n.FeedPosition, n.Floor, n.MaxBound = s.FeedPosition, s.floor, s.maxBound
	return n, nil
}

func (j *Journal) number(row *Row) error {
	s, now := &j.state, j.Clock.micro()
	payload, err := events.EncodePayload(row.Payload)
	if err != nil {
		return err
	}
	until := j.Until(now)
	body, err := events.EncodeEvent(s.Head+1, row.Payload.Type(), now, until, payload)
	if err != nil {
		return err
	}
	s.Head, s.Chain = s.Head+1, s.Chain.Next(body)
	row.Epoch, row.At, row.Until, row.Published = s.Epoch, now, until, false
	row.FeedRow = store.FeedRow{ID: row.ID, Seq: s.Head, Type: row.Payload.Type(), Body: body, Chain: s.Chain}
	return nil
}

func (j *Journal) mark(to uint64) {
	for _, row := range j.rows {
		if row.Epoch == j.state.Epoch && row.Seq <= to {
			row.Published = true
		}
	}
}

func (j *Journal) lowestLive() uint64 {
	lowest := j.state.Head + 1
	for _, row := range j.rows {
		if row.Epoch == j.state.Epoch && row.Until > j.Clock.micro() {
			lowest = min(lowest, row.Seq)
		}
	}
	return lowest
}

// FeedRange implements feed.Journal.
func (j *Journal) FeedRange(_ context.Context, issuer, epoch string, from, to uint64) (prev events.Hash, rows []store.FeedRow, err error) {
	bySeq := map[uint64]store.FeedRow{}
	for _, r := range j.rows {
		if r.Epoch == epoch {
			bySeq[r.Seq] = r.FeedRow
		}
	}
	prev = events.ChainStart(issuer, epoch)
	if from > 1 {
		prev = bySeq[from-1].Chain
	}
	for seq := from; seq <= to; seq++ {
		r, ok := bySeq[seq]
		if !ok {
			break
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		err = store.ErrNotFound
	}
	return prev, rows, err
}

// FeedChain implements feed.PageSource.
func (j *Journal) FeedChain(_ context.Context, issuer, epoch string, seq uint64) (events.Hash, error) {
	if seq == 0 {
		return events.ChainStart(issuer, epoch), nil
	}
	for _, r := range j.rows {
		if r.Epoch == epoch && r.Seq == seq {
			return r.Chain, nil
		}
	}
	return events.Hash{}, store.ErrNotFound
}

// FeedBodies implements feed.PageSource.
func (j *Journal) FeedBodies(ctx context.Context, epoch string, from, to uint64, each func(uint64, []byte) (bool, error)) error {
	_, rows, err := j.FeedRange(ctx, "", epoch, from, to)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	for _, r := range rows {
		if more, err := each(r.Seq, r.Body); err != nil || !more {
			return err
		}
	}
	return err
}

// ReleaseFeed implements feed.Journal.
func (j *Journal) ReleaseFeed(_ context.Context, term int64) error {
	if j.state.term == term {
		j.state.until = 0
	}
	return nil
}

// FinishImport implements feed.Journal.
func (j *Journal) FinishImport(_ context.Context, term int64) error {
	if j.state.term == term {
		j.state.importFrom, j.state.importAfter = 0, store.FeedPlace{}
	}
	return nil
}

// FeedStanding implements feed.PageSource.
func (j *Journal) FeedStanding(context.Context) (store.Lease, error) {
	if j.state.Epoch == "" {
		return store.Lease{}, store.ErrNotFound
	}
	return j.lease(), nil
}

// EventStates implements feed.EventStates.
func (j *Journal) EventStates(_ context.Context, ids []string) (states []store.EventState, err error) {
	for _, id := range ids {
		if r := j.Row(id); r.ID != "" {
			states = append(states, store.EventState{ID: id, Epoch: r.Epoch, Seq: r.Seq, Published: r.Published})
		}
	}
	return states, nil
}
