package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

var (
	// ErrLeaseHeld means that another dispatcher holds the lease and may be alive.
	ErrLeaseHeld = errors.New("lease held by another dispatcher")
	// ErrFenced means that the caller's term is over: it MUST NOT number, nor prove anything, before it has the lease again.
	ErrFenced = errors.New("term is over")
	// ErrRegressed means that the database doesn't hold what the caller has seen committed: it lost commits.
	ErrRegressed = errors.New("feed regressed")
)

// FeedPosition is a point of the feed: the chain after Head events of an epoch. The zero value is no position.
type FeedPosition struct {
	Epoch string
	Head  uint64
	Chain events.Hash
}

// FeedPlace is the number of an event. The zero value is before all.
type FeedPlace struct {
	Epoch string
	Seq   uint64
}

// Before reports whether p was numbered before q, whatever the clock said.
func (p FeedPlace) Before(q FeedPlace) bool {
	return p.Epoch < q.Epoch || (p.Epoch == q.Epoch && p.Seq < q.Seq)
}

// LeaseRequest asks for the right to number events.
type LeaseRequest struct {
	Holder string // this process
	Issuer string
	Life   time.Duration
	// Alone says that no other dispatcher can be alive, whatever the lease says: its lock on the host is ours.
	Alone bool
	// Known is the last position that this process has seen, or has evidence of. The database is asked whether it still
	// holds it.
	Known FeedPosition
	// TailKey is the kid under which the stream's last message is signed, if this process knows no such feed key. The database
	// is asked whether it knows it: keys come and go by commits.
	TailKey string
}

// Lease is one term as the dispatcher.
type Lease struct {
	Term int64
	FeedPosition
	Floor uint64
	// Unpublished is the lowest seq without a mark; Head + 1 when all have one.
	Unpublished uint64
	// MaxBound is the largest bound that a proof was ever answered for, in microseconds.
	MaxBound int64
	// StreamKey is the kid of the feed key that the stream can be read with from floor to head: with it, and with keys that
	// became active later. "": none was recorded, because nothing was ever published.
	StreamKey string
	// Until is when others may take over, Now when this was read.
	Until, Now int64
	// ImportFrom is the time, in microseconds of the database's clock, since which commits may be lost that the stream still
	// tells of; 0 when there are none. It stays until [DB.FinishImport].
	ImportFrom int64
	// ImportAfter is the last event before that, as far as is known, with the number by which the stream knows it.
	ImportAfter FeedPlace
	// First says that this term opened the first epoch of the database; Opened that it opened a new one, for Cause.
	First, Opened bool
	Cause         string
}

// feedState is the row of feed_state.
type feedState struct {
	issuer string
	FeedPosition
	floor       uint64
	holder      string
	term        int64
	leaseUntil  int64
	maxBound    int64
	streamKey   string
	importFrom  int64
	importAfter FeedPlace
}

func (tx *Tx) feedState(ctx context.Context, lock string) (s feedState, err error) {
	var chain []byte
	err = tx.queryRow(ctx, `SELECT issuer, epoch, head, chain, floor, holder, term, lease_until, max_bound, stream_kid,
		import_from, import_epoch, import_seq FROM feed_state WHERE id = 1`+lock).
		Scan(&s.issuer, &s.Epoch, &s.Head, &chain, &s.floor, &s.holder, &s.term, &s.leaseUntil, &s.maxBound, &s.streamKey,
			&s.importFrom, &s.importAfter.Epoch, &s.importAfter.Seq)
	if err == nil {
		s.Chain, err = asHash(chain)
	}
	return s, err
}

func asHash(b []byte) (h events.Hash, err error) {
	if copy(h[:], b) != len(h) || len(b) != len(h) {
		return h, fmt.Errorf("database: chain of %d bytes", len(b))
	}
	return h, nil
}

// AcquireFeed begins a new term, and a new epoch where the feed can't be continued: the first time, for another issuer,
// and when the database lacks r.Known or doesn't know r.TailKey. With [ErrLeaseHeld] it returns how the feed stands under the other holder.
func (db *DB) AcquireFeed(ctx context.Context, r LeaseRequest) (Lease, error) {
	var lease Lease
	err := db.updateWithPen(ctx, func(tx *Tx) (err error) {
		lease, err = tx.acquireFeed(ctx, r)
		return err
	})
	return lease, err
}

func (tx *Tx) acquireFeed(ctx context.Context, r LeaseRequest) (Lease, error) {
	// Look first: waiting for the holder's lock at every look would slow it down.
	s, err := tx.feedState(ctx, "")
	if errors.Is(err, ErrNotFound) {
		return tx.firstLease(ctx, r)
	}
	if err != nil {
		return Lease{}, err
	}
	if now := tx.Now(); r.heldByOther(s, now) {
		return s.lease(now), ErrLeaseHeld
	}
	if s, err = tx.feedState(ctx, tx.db.dialect.forUpdate); err != nil {
		return Lease{}, err
	}
	// The lock may have been waited for, so the time is read after it.
	now, err := tx.timeNow(ctx)
	if err != nil {
		return Lease{}, err
	}
	if r.heldByOther(s, now) {
		return s.lease(now), ErrLeaseHeld
	}
	return tx.beginTerm(ctx, r, s, now)
}

// heldByOther reports whether another holder's lease goes on. One that goes on for much longer than any is asked for was
// taken before the clock was set back: it has ended, for all that anybody knows. Terms fence a holder that is alive after all.
func (r LeaseRequest) heldByOther(s feedState, now int64) bool {
	left := s.leaseUntil - now
	return !r.Alone && s.holder != r.Holder && 0 < left && left < 2*r.Life.Microseconds()
}

func (s feedState) lease(now int64) Lease {
	return Lease{Term: s.term, FeedPosition: s.FeedPosition, Floor: s.floor, MaxBound: s.maxBound, StreamKey: s.streamKey,
		Until: s.leaseUntil, Now: now, ImportFrom: s.importFrom, ImportAfter: s.importAfter}
}

// firstLease makes the row; of several replicas that start at once, the others wait here and then see it.
func (tx *Tx) firstLease(ctx context.Context, r LeaseRequest) (Lease, error) {
	_, err := tx.exec(ctx, `INSERT INTO feed_state (id, issuer, epoch, head, chain, floor, holder, term, lease_until, max_bound)
		VALUES (1, '', '', 0, $1, 1, '', 0, 0, 0) ON CONFLICT (id) DO NOTHING`, make([]byte, len(events.Hash{})))
	if err != nil {
		return Lease{}, err
	}
	return tx.acquireFeed(ctx, r)
}

func (tx *Tx) beginTerm(ctx context.Context, r LeaseRequest, s feedState, now int64) (Lease, error) {
	cause, err := tx.epochEnds(ctx, r, s)
	if err != nil {
		return Lease{}, err
	}
	l := Lease{First: s.Epoch == "", Opened: cause != "", Cause: cause}
	if cause == causeRegressed {
		if s.importFrom, s.importAfter, err = tx.importStart(ctx, s, r.Known); err != nil {
			return Lease{}, err
		}
	}
	if l.Opened {
		if err := tx.noteTailKey(ctx, r.TailKey); err != nil {
			return Lease{}, err
		}
		s.issuer, s.Epoch, s.Head, s.floor = r.Issuer, tx.laterID(s.Epoch, r.Known.Epoch), 0, 1
		s.Chain = events.ChainStart(s.issuer, s.Epoch)
	}
	s.holder, s.term, s.leaseUntil = r.Holder, s.term+1, now+r.Life.Microseconds()
	_, err = tx.exec(ctx, `UPDATE feed_state SET issuer = $1, epoch = $2, head = $3, chain = $4, floor = $5, holder = $6,
		term = $7, lease_until = $8, import_from = $9, import_epoch = $10, import_seq = $11 WHERE id = 1`,
		s.issuer, s.Epoch, s.Head, s.Chain[:], s.floor, s.holder, s.term, s.leaseUntil, s.importFrom, s.importAfter.Epoch, s.importAfter.Seq)
	if err != nil {
		return Lease{}, err
	}
	l.Term, l.FeedPosition, l.Floor, l.MaxBound, l.Until, l.Now = s.term, s.FeedPosition, s.floor, s.maxBound, s.leaseUntil, now
	l.StreamKey = s.streamKey
	l.ImportFrom, l.ImportAfter = s.importFrom, s.importAfter
	l.Unpublished, err = tx.unpublished(ctx, s.FeedPosition)
	return l, err
}

// epochEnds returns why the current epoch can't be continued, or "".
func (tx *Tx) epochEnds(ctx context.Context, r LeaseRequest, s feedState) (string, error) {
	if s.Epoch == "" {
		return "first", nil
	}
	if ok, err := tx.knowsTailKey(ctx, r.TailKey); err != nil || !ok {
		return causeRegressed, err
	}
	if s.issuer != r.Issuer {
		return "issuer changed", nil
	}
	if ok, err := tx.holds(ctx, s, r.Known); err != nil || !ok {
		return causeRegressed, err
	}
	return "", nil
}

// knowsTailKey reports whether the stream's end can be of this database's history: the key is or was one of it.
func (tx *Tx) knowsTailKey(ctx context.Context, kid string) (known bool, err error) {
	if kid == "" {
		return true, nil
	}
	err = tx.queryRow(ctx, `SELECT EXISTS (SELECT 1 FROM signing_keys WHERE kid = $1) OR EXISTS (SELECT 1 FROM retired_kids WHERE kid = $1)`, kid).Scan(&known)
	return known, err
}

// noteTailKey counts an unknown key among those that this database had once: the message stays where it is, and whoever has seen it
// too, and becomes the dispatcher much later, must not open another epoch for it.
func (tx *Tx) noteTailKey(ctx context.Context, kid string) error {
	known, err := tx.knowsTailKey(ctx, kid)
	if err != nil || known {
		return err
	}
	_, err = tx.exec(ctx, `INSERT INTO retired_kids (kid, retired_at) VALUES ($1, $2)`, kid, tx.Now())
	return err
}

const causeRegressed = "database regressed"

// importStart returns a time before which the database has lost nothing, or 1 where none is known, and the last event of that
// time: its last one with a mark; where its epoch has none, the time is that of the epoch. Events without a mark tell nothing of
// when the backup was made: a dispatcher that couldn't see the stream may have numbered them since. Nor do any where the
// database went on beyond what it had lost.
func (tx *Tx) importStart(ctx context.Context, s feedState, known FeedPosition) (from int64, after FeedPlace, err error) {
	if known.Epoch == s.Epoch && known.Head <= s.Head {
		return 1, FeedPlace{}, nil
	}
	from = 1
	if id, err := events.ParseID(s.Epoch); err == nil {
		from = max(from, id.Millis()*1000)
	}
	unpublished, err := tx.unpublished(ctx, s.FeedPosition)
	if err != nil {
		return 0, after, err
	}
	after = FeedPlace{Epoch: s.Epoch, Seq: unpublished - 1}
	var at int64
	err = tx.queryRow(ctx, `SELECT at FROM events WHERE epoch = $1 AND seq = $2`, after.Epoch, after.Seq).Scan(&at)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, after, err
	}
	from = max(from, at)
	if s.importFrom > 0 { // the backup was made before an earlier import was through
		from, after = min(from, s.importFrom), s.importAfter
	}
	return from, after, nil
}

// FinishImport records, while a term lasts, that the stream was read.
func (db *DB) FinishImport(ctx context.Context, term int64) error {
	return db.updateWithPen(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, `UPDATE feed_state SET import_from = 0, import_epoch = '', import_seq = 0 WHERE id = 1 AND term = $1`, term)
		return err
	})
}

// holds reports whether the database still has a position that was once committed. Rows below the floor may have been
// pruned; the answer is then that of the rows above, which the later holders of the lease have checked.
func (tx *Tx) holds(ctx context.Context, s feedState, known FeedPosition) (bool, error) {
	switch {
	case known.Epoch == "" || known.Epoch < s.Epoch:
		return true, nil
	case known.Epoch > s.Epoch || known.Head > s.Head:
		return false, nil
	case known.Head == s.Head:
		return known.Chain == s.Chain, nil
	case known.Head == 0:
		return known.Chain == events.ChainStart(s.issuer, s.Epoch), nil
	}
	var chain []byte
	err := tx.queryRow(ctx, `SELECT chain FROM events WHERE epoch = $1 AND seq = $2`, known.Epoch, known.Head).Scan(&chain)
	if errors.Is(err, ErrNotFound) {
		return known.Head < s.floor, nil
	}
	return string(chain) == string(known.Chain[:]), err
}

// laterID makes an id above others.
func (tx *Tx) laterID(others ...string) string {
	var after int64
	for _, other := range others {
		if id, err := events.ParseID(other); err == nil {
			after = max(after, id.Millis()+1)
		}
	}
	return tx.newID(after)
}

// DispatchedIssuer returns the issuer of the feed while somebody holds its lease, "" while nobody does.
func (db *DB) DispatchedIssuer(ctx context.Context) (issuer string, err error) {
	err = db.View(ctx, func(tx *Tx) error {
		s, err := tx.feedState(ctx, "")
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err == nil && s.leaseUntil > tx.Now() {
			issuer = s.issuer
		}
		return err
	})
	return issuer, err
}

func (tx *Tx) unpublished(ctx context.Context, p FeedPosition) (uint64, error) {
	var lowest uint64
	err := tx.queryRow(ctx, `SELECT COALESCE(min(seq), CAST($2 AS BIGINT)) FROM events
		WHERE epoch = $1 AND seq IS NOT NULL AND published_at IS NULL`, p.Epoch, p.Head+1).Scan(&lowest)
	return lowest, err
}

// timeNow reads the database's time now, where [Tx.Now] may be as old as the transaction.
func (tx *Tx) timeNow(ctx context.Context) (now int64, err error) {
	clock, parameter := tx.db.clockParameter()
	err = tx.queryRow(ctx, `SELECT `+clock, parameter).Scan(&now)
	return now, err
}

// ReleaseFeed ends a term of its own accord, so that others needn't wait for the lease to run out.
func (db *DB) ReleaseFeed(ctx context.Context, term int64) error {
	return db.updateWithPen(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, `UPDATE feed_state SET lease_until = 0 WHERE id = 1 AND term = $1`, term)
		return err
	})
}
