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
// The bounds in authority are read with the rows, from one snapshot, or after them: a credential that one of those rows kills
// was issued, and its exp covered by exp_ceiling, by a commit before that row's. The time is read after the snapshot was taken.
//
// On PostgreSQL each statement is a round trip, for which a revocation, and every proof, has to wait: there are three between
// BEGIN and COMMIT, which are as few as can be, since the rows' snapshot must be taken after the lock, and their bytes are made here.
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
	waiting, more, facts, err := tx.waiting(ctx, s.Epoch, r.CarryOver)
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

// waiting reads what is to be numbered, live events of earlier epochs, then new ones, and what else has to be known then.
func (tx *Tx) waiting(ctx context.Context, epoch string, carryOver bool) (kept []unnumbered, more bool, f feedFacts, err error) {
	var all []unnumbered
	if carryOver {
		all, err = queryAll(ctx, tx, scanUnnumbered, `SELECT id, type, payload FROM events
			WHERE epoch < $1 AND until > $2 ORDER BY epoch, seq LIMIT $3`, epoch, tx.Now(), numberLimit+1)
		if err != nil {
			return nil, false, f, err
		}
	}
	fresh, f, err := tx.freshWithFacts(ctx)
	if err != nil {
		return nil, false, f, err
	}
	all = append(all, fresh...)
	kept = cutToSize(all)
	return kept, len(kept) < len(all), f, nil
}

// freshWithFacts reads the events without a number, in one statement with the facts, which stand in each of its rows.
func (tx *Tx) freshWithFacts(ctx context.Context) (fresh []unnumbered, f feedFacts, err error) {
	type row struct {
		unnumbered
		ceiling, ttl, now int64
		kids              string
	}
	clock, parameter := tx.db.clockParameter()
	rows, err := queryAll(ctx, tx, func(s scanner) (r row, err error) {
		err = s.Scan(&r.ceiling, &r.ttl, &r.now, &r.kids, &r.id, &r.typ, &r.payload)
		return r, err
	}, fmt.Sprintf(unnumberedWithFacts, clock), parameter, numberLimit+1)
	if err != nil {
		return nil, f, err
	}
	if len(rows) == 0 {
		return nil, f, fmt.Errorf("database: no row of authority: %w", ErrNotFound)
	}
	first := rows[0]
	f = feedFacts{now: first.now, until: Until(first.now, first.ttl, first.ceiling), keys: events.KeySetHash(strings.Fields(first.kids))}
	for _, r := range rows {
		if r.id != "" {
			fresh = append(fresh, r.unnumbered)
		}
	}
	return fresh, f, nil
}

// unnumberedWithFacts has one row without an event where none is to be numbered. The time is read once for all of them.
const unnumberedWithFacts = `WITH facts AS MATERIALIZED (SELECT exp_ceiling, max_access_ttl, %s AS now,
		(SELECT COALESCE(string_agg(kid, ' '), '') FROM signing_keys WHERE purpose = 'token') AS kids FROM authority WHERE id = 1)
	SELECT exp_ceiling, max_access_ttl, now, kids, COALESCE(fresh.id, ''), COALESCE(fresh.type, ''), COALESCE(fresh.payload, '')
	FROM facts LEFT JOIN (SELECT id, type, payload FROM events WHERE seq IS NULL ORDER BY id LIMIT $2) AS fresh ON TRUE
	ORDER BY fresh.id`

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

// feedFacts is what else a numbering transaction reads.
type feedFacts struct {
	now, until int64
	keys       events.Hash
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

// writeNumbered writes what the rows became, which earlier ones are published, and the feed's new state.
func (tx *Tx) writeNumbered(ctx context.Context, r NumberRequest, n *Numbered, f feedFacts) error {
	before := n.Head
	if len(n.Rows) > 0 {
		last := n.Rows[len(n.Rows)-1]
		n.Head, n.Chain = last.Seq, last.Chain
	}
	var err error
	if tx.db.dialect.engine == Postgres {
		err = tx.writeAtOnce(ctx, r, n, before, f)
	} else {
		err = tx.writeInTurn(ctx, r, n, f)
	}
	if err == nil && len(n.Rows) > 0 {
		defect.Reach(defect.Numbering)
	}
	return err
}

// writeAtOnce is one statement, because each costs a round trip. All of it sees the table as it was: so the floor is looked for
// among the events up to the head before, and is the next one at most, which is one of the rows and lives.
func (tx *Tx) writeAtOnce(ctx context.Context, r NumberRequest, n *Numbered, before uint64, f feedFacts) error {
	statement, rows := numbering(n.Rows)
	args := append([]any{f.now, n.Epoch, r.PublishedTo, f.until, n.Head, n.Chain[:], n.Floor, n.Floor + floorStep,
		min(n.Floor+floorStep, before+1), n.MaxBound, f.now + r.Life.Microseconds(), r.StreamKey}, rows...)
	var changed int
	err := tx.queryRow(ctx, statement, args...).Scan(&n.Floor, &changed)
	if err == nil && changed != len(n.Rows) {
		return fmt.Errorf("database: %d of %d events numbered", changed, len(n.Rows))
	}
	return err
}

const (
	numberingBegin = `WITH marked AS (UPDATE events SET published_at = $1 WHERE epoch = $2 AND seq <= $3 AND published_at IS NULL),
		numbered AS (UPDATE events SET epoch = $2, at = $1, until = $4, published_at = NULL, `
	numberingEnd = ` RETURNING 1)
		UPDATE feed_state SET head = $5, chain = $6,
			floor = COALESCE((SELECT seq FROM events WHERE epoch = $2 AND seq >= $7 AND seq < $8 AND until > $1 ORDER BY seq LIMIT 1), $9),
			max_bound = $10, lease_until = $11, stream_kid = $12 WHERE id = 1
		RETURNING floor, (SELECT count(*) FROM numbered)`
	// numberOne has a text of its own: for an unknown number of rows the server may plan to read the whole table.
	numberOne  = numberingBegin + `seq = $14, body = $15, chain = $16 WHERE id = $13` + numberingEnd
	numberMany = numberingBegin + `seq = v.seq, body = v.body, chain = v.chain
		FROM unnest($13::text[], $14::bigint[], $15::bytea[], $16::bytea[]) AS v (id, seq, body, chain) WHERE events.id = v.id` + numberingEnd
)

// numbering returns the statement that writes some rows, and its last arguments.
func numbering(all []FeedRow) (statement string, rows []any) {
	switch len(all) {
	case 0:
		return numberOne, []any{"", 0, []byte{}, []byte{}} // no event has that id
	case 1:
		return numberOne, []any{all[0].ID, all[0].Seq, all[0].Body, all[0].Chain[:]}
	}
	ids, seqs := make([]string, len(all)), make([]int64, len(all))
	bodies, chains := make([][]byte, len(all)), make([][]byte, len(all))
	for i := range all {
		ids[i], seqs[i], bodies[i], chains[i] = all[i].ID, int64(all[i].Seq), all[i].Body, all[i].Chain[:]
	}
	return numberMany, []any{ids, seqs, bodies, chains}
}

// writeInTurn is the same by several statements, where they cost little.
func (tx *Tx) writeInTurn(ctx context.Context, r NumberRequest, n *Numbered, f feedFacts) error {
	if r.PublishedTo > 0 {
		_, err := tx.exec(ctx, `UPDATE events SET published_at = $1
			WHERE epoch = $2 AND seq <= $3 AND published_at IS NULL`, f.now, n.Epoch, r.PublishedTo)
		if err != nil {
			return err
		}
	}
	for _, row := range n.Rows {
		err := tx.execOne(ctx, `UPDATE events SET epoch = $1, at = $2, until = $3, published_at = NULL, seq = $4, body = $5, chain = $6
			WHERE id = $7`, n.Epoch, f.now, f.until, row.Seq, row.Body, row.Chain[:], row.ID)
		if err != nil {
			return err
		}
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
