package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/defect"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Bounds of one numbering transaction, so that it stays well under a second whatever has piled up.
const (
	numberLimit      = 2000
	numberBytes      = 8 << 20
	floorStep        = 20000
	untilLeeway      = time.Minute
	untilLeewayMicro = int64(untilLeeway / time.Microsecond)
)

// NumberRequest asks to number what is committed.
type NumberRequest struct {
	Term int64
	// At is the caller's last position, which the database MUST be at.
	At FeedPosition
	// Life renews the lease once it is more than half over.
	Life time.Duration
	// Bound is the largest bound that the caller will answer a proof for afterwards, in microseconds.
	Bound int64
	// PublishedTo marks all events up to a seq as published; 0 marks none.
	PublishedTo uint64
	// StreamKey records the kid that the stream can be read with; "" leaves what is recorded.
	StreamKey string
	// CarryOver looks for live events of earlier epochs too. It MUST be set from the beginning of a term until a
	// transaction returned More false.
	CarryOver bool
}

// Numbered is what a numbering transaction saw and did. All of it belongs to one moment after the call began.
type Numbered struct {
	FeedPosition // after
	Floor        uint64
	Keys         events.Hash // events.KeySetHash of the token keys in the set
	Now          int64
	MaxBound     int64
	// Rows are the events that it numbered, in order; Prev is the chain before them.
	Prev events.Hash
	Rows []FeedRow
	// More says that not everything that was visible has been numbered: nothing may be proven from this.
	More bool
}

// FeedRow is a numbered event.
type FeedRow struct {
	ID    string
	Seq   uint64
	Type  events.Type
	Body  []byte      // final bytes
	Chain events.Hash // chain(Seq)
}

// unnumbered is an event that waits for its seq.
type unnumbered struct {
	id      string
	typ     events.Type
	payload string
}

// errNothingWritten rolls a transaction back that has only locked and read, which costs no flush to disk.
var errNothingWritten = errors.New("nothing written")

// NumberEvents runs one numbering transaction. The errors are [ErrFenced], [ErrRegressed] and those of [DB.Update]; after
// an error it is unknown whether events were numbered.
//
// Why every event that was committed before the call has a seq ≤ Head afterwards, unless More: PostgreSQL runs it READ
// COMMITTED. The first statement takes the row lock, so no other dispatcher numbers until this transaction ends, and it
// shows the caller's term to be the present one. It may have waited, and what it sees is as old as its beginning. Each
// later statement takes a snapshot of its own, after the lock and so after the call began; in PostgreSQL a transaction is
// visible to every snapshot taken after its commit was reported. No cursor over ids is involved: rows are chosen by
// having no seq, so a row whose id is lower than that of numbered ones is found when it commits. SQLite begins the
// transaction IMMEDIATE: it is the only writer from then on and reads what was committed before.
//
// The bounds in authority are read after the rows: a credential that one of those rows kills was issued, and its exp
// covered by exp_ceiling, by a commit before that row's.
func (db *DB) NumberEvents(ctx context.Context, r NumberRequest) (Numbered, error) {
	var n Numbered
	err := db.updateWithPen(ctx, func(tx *Tx) (err error) {
		n, err = tx.numberEvents(ctx, r)
		return err
	})
	if errors.Is(err, errNothingWritten) {
		err = nil
	}
	return n, err
}

func (tx *Tx) numberEvents(ctx context.Context, r NumberRequest) (Numbered, error) {
	s, err := tx.feedState(ctx, tx.db.dialect.forUpdate)
	if err != nil {
		return Numbered{}, err
	}
	if err := r.check(s); defect.Unfenced {
		s.FeedPosition = r.At
	} else if err != nil {
		return Numbered{}, err
	}
	waiting, more, err := tx.waiting(ctx, s.Epoch, r.CarryOver)
	if err != nil {
		return Numbered{}, err
	}
	facts, err := tx.feedFacts(ctx)
	if err != nil {
		return Numbered{}, err
	}
	n := Numbered{FeedPosition: s.FeedPosition, Floor: s.floor, Keys: facts.keys, Now: facts.now,
		MaxBound: max(s.maxBound, r.Bound), Prev: s.Chain, More: more}
	if n.Rows, err = s.number(waiting, facts); err != nil {
		return Numbered{}, err
	}
	renew := facts.now > s.leaseUntil-r.Life.Microseconds()/2
	if len(n.Rows) == 0 && !renew && n.MaxBound == s.maxBound && r.PublishedTo == 0 && r.StreamKey == "" {
		return n, errNothingWritten
	}
	r.StreamKey = cmp.Or(r.StreamKey, s.streamKey)
	return n, tx.writeNumbered(ctx, r, &n, facts)
}

func (r NumberRequest) check(s feedState) error {
	switch {
	case s.term < r.Term:
		return fmt.Errorf("%w: term %d, was %d", ErrRegressed, s.term, r.Term)
	case s.term > r.Term || s.Epoch != r.At.Epoch:
		return ErrFenced
	case s.Head < r.At.Head || (s.Head == r.At.Head && s.Chain != r.At.Chain):
		return fmt.Errorf("%w: head %d, was %d", ErrRegressed, s.Head, r.At.Head)
	case s.Head > r.At.Head:
		return ErrFenced // a commit of ours whose outcome we don't know: begin a new term
	}
	return nil
}

// waiting reads what is to be numbered: live events of earlier epochs, then new ones.
func (tx *Tx) waiting(ctx context.Context, epoch string, carryOver bool) (all []unnumbered, more bool, err error) {
	if carryOver {
		all, err = queryAll(ctx, tx, scanUnnumbered, `SELECT id, type, payload FROM events
			WHERE epoch < $1 AND until > $2 ORDER BY epoch, seq LIMIT $3`, epoch, tx.Now(), numberLimit+1)
		if err != nil {
			return nil, false, err
		}
	}
	if room := numberLimit + 1 - len(all); room > 0 {
		fresh, err := queryAll(ctx, tx, scanUnnumbered, `SELECT id, type, payload FROM events
			WHERE seq IS NULL ORDER BY id LIMIT $1`, room)
		if err != nil {
			return nil, false, err
		}
		all = append(all, fresh...)
	}
	kept := cutToSize(all)
	return kept, len(kept) < len(all), nil
}

func cutToSize(all []unnumbered) []unnumbered {
	size := 0
	for i, u := range all {
		size += len(u.payload)
		if i == numberLimit || (i > 0 && size > numberBytes) {
			return all[:i]
		}
	}
	return all
}

func scanUnnumbered(s scanner) (u unnumbered, err error) {
	err = s.Scan(&u.id, &u.typ, &u.payload)
	return u, err
}

// feedFacts is what else a numbering transaction reads, after the rows.
type feedFacts struct {
	now, until int64
	keys       events.Hash
}

func (tx *Tx) feedFacts(ctx context.Context) (f feedFacts, err error) {
	var ceiling, ttl int64
	var kids string
	err = tx.queryRow(ctx, `SELECT exp_ceiling, max_access_ttl, `+tx.db.clock()+`,
		(SELECT COALESCE(string_agg(kid, ' '), '') FROM signing_keys WHERE purpose = 'token')
		FROM authority WHERE id = 1`).Scan(&ceiling, &ttl, &f.now, &kids)
	f.until = Until(f.now, ttl, ceiling)
	f.keys = events.KeySetHash(strings.Fields(kids))
	return f, err
}

// Until returns when an event of a time has lapsed: KeyRetention after everything that it concerns has ended, so that a
// clock which is ahead by no more than that passes over nothing. ttl is the greatest life of an access token ever, ceiling
// the greatest exp ever issued; all are in microseconds.
func Until(now, ttl, ceiling int64) int64 {
	return max(ceiling, now+ttl) + events.KeyRetention.Microseconds() + untilLeewayMicro
}

// number gives rows their seq, final bytes and chain after a position.
func (s feedState) number(waiting []unnumbered, f feedFacts) ([]FeedRow, error) {
	rows := make([]FeedRow, 0, len(waiting))
	chain := s.Chain
	for i, u := range waiting {
		seq := s.Head + 1 + uint64(i)
		body, err := events.EncodeEvent(seq, u.typ, f.now, f.until, []byte(u.payload))
		if err != nil {
			return nil, fmt.Errorf("event %s can't be numbered: %w", u.id, err)
		}
		chain = chain.Next(body)
		rows = append(rows, FeedRow{ID: u.id, Seq: seq, Type: u.typ, Body: body, Chain: chain})
	}
	return rows, nil
}

func (tx *Tx) writeNumbered(ctx context.Context, r NumberRequest, n *Numbered, f feedFacts) error {
	if r.PublishedTo > 0 {
		_, err := tx.exec(ctx, `UPDATE events SET published_at = $1
			WHERE epoch = $2 AND seq <= $3 AND published_at IS NULL`, f.now, n.Epoch, r.PublishedTo)
		if err != nil {
			return err
		}
	}
	if err := tx.setNumbers(ctx, n.Epoch, n.Rows, f); err != nil {
		return err
	}
	if len(n.Rows) > 0 {
		last := n.Rows[len(n.Rows)-1]
		n.Head, n.Chain = last.Seq, last.Chain
		defect.Reach(defect.Numbering)
	}
	floor, err := tx.raisedFloor(ctx, n.FeedPosition, n.Floor, f.now)
	if err != nil {
		return err
	}
	n.Floor = floor
	_, err = tx.exec(ctx, `UPDATE feed_state SET head = $1, chain = $2, floor = $3, max_bound = $4, lease_until = $5,
		stream_kid = $6 WHERE id = 1`, n.Head, n.Chain[:], n.Floor, n.MaxBound, f.now+r.Life.Microseconds(), r.StreamKey)
	return err
}

// raisedFloor returns the lowest seq whose until is in the future, but never less than before: a floor that was once
// signed stands even when the clock goes back. It moves by a bounded step, so that it may lag, which is safe.
func (tx *Tx) raisedFloor(ctx context.Context, p FeedPosition, floor uint64, now int64) (uint64, error) {
	var live uint64
	err := tx.queryRow(ctx, `SELECT seq FROM events WHERE epoch = $1 AND seq >= $2 AND seq < $3 AND until > $4
		ORDER BY seq LIMIT 1`, p.Epoch, floor, floor+floorStep, now).Scan(&live)
	if errors.Is(err, ErrNotFound) {
		return min(floor+floorStep, p.Head+1), nil
	}
	return live, err
}

const setNumber = `UPDATE events SET epoch = $1, at = $2, until = $3, published_at = NULL`

// setNumbers writes what the rows became. PostgreSQL gets them in one statement, because each costs a round trip.
func (tx *Tx) setNumbers(ctx context.Context, epoch string, rows []FeedRow, f feedFacts) error {
	if tx.db.dialect.engine == Postgres && len(rows) > 1 {
		return tx.setNumbersAtOnce(ctx, epoch, rows, f)
	}
	for _, row := range rows {
		err := tx.execOne(ctx, setNumber+`, seq = $4, body = $5, chain = $6 WHERE id = $7`,
			epoch, f.now, f.until, row.Seq, row.Body, row.Chain[:], row.ID)
		if err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) setNumbersAtOnce(ctx context.Context, epoch string, rows []FeedRow, f feedFacts) error {
	ids, seqs := make([]string, len(rows)), make([]int64, len(rows))
	bodies, chains := make([][]byte, len(rows)), make([][]byte, len(rows))
	for i := range rows {
		ids[i], seqs[i], bodies[i], chains[i] = rows[i].ID, int64(rows[i].Seq), rows[i].Body, rows[i].Chain[:]
	}
	changed, err := tx.exec(ctx, setNumber+`, seq = v.seq, body = v.body, chain = v.chain
		FROM unnest($4::text[], $5::bigint[], $6::bytea[], $7::bytea[]) AS v (id, seq, body, chain) WHERE events.id = v.id`,
		epoch, f.now, f.until, ids, seqs, bodies, chains)
	if err == nil && changed != int64(len(rows)) {
		return fmt.Errorf("database: %d of %d events numbered", changed, len(rows))
	}
	return err
}
