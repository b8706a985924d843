package store

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// FeedRange reads numbered events from one seq to another, both included, and the chain before the first. It returns
// fewer at the end of the feed, and [ErrNotFound] when there is none, or when what comes before or some of them was pruned.
func (db *DB) FeedRange(ctx context.Context, issuer, epoch string, from, to uint64) (prev events.Hash, rows []FeedRow, err error) {
	err = db.View(ctx, func(tx *Tx) error {
		rows, err = queryAll(ctx, tx, scanFeedRow, `SELECT id, seq, type, body, chain FROM events
			WHERE epoch = $1 AND seq >= $2 AND seq <= $3 ORDER BY seq`, epoch, max(from, 2)-1, to)
		return err
	})
	switch {
	case err != nil:
		return prev, nil, err
	case from <= 1:
		from, prev = 1, events.ChainStart(issuer, epoch)
	case len(rows) > 0 && rows[0].Seq == from-1:
		prev, rows = rows[0].Chain, rows[1:]
	default:
		return prev, nil, ErrNotFound
	}
	if len(rows) == 0 || rows[0].Seq != from || rows[len(rows)-1].Seq-from != uint64(len(rows)-1) {
		return prev, nil, ErrNotFound
	}
	return prev, rows, nil
}

// FeedChain reads the chain after a seq. It returns [ErrNotFound] when there is no such event any more or yet.
func (db *DB) FeedChain(ctx context.Context, issuer, epoch string, seq uint64) (events.Hash, error) {
	if seq == 0 {
		return events.ChainStart(issuer, epoch), nil
	}
	var chain []byte
	err := db.View(ctx, func(tx *Tx) error {
		return tx.queryRow(ctx, `SELECT chain FROM events WHERE epoch = $1 AND seq = $2`, epoch, seq).Scan(&chain)
	})
	if err != nil {
		return events.Hash{}, err
	}
	return asHash(chain)
}

// FeedBodies gives the final bytes of numbered events from one seq to another, both included, to each, in order, until it
// returns false or an error, which is returned. It costs a fraction of FeedRange, for who can tell by the chain whether one is
// missing. The bytes are valid during the call only; each may be called from the beginning again when the database was away.
func (db *DB) FeedBodies(ctx context.Context, epoch string, from, to uint64, each func(seq uint64, body []byte) (more bool, err error)) error {
	return db.View(ctx, func(tx *Tx) error {
		rows, err := tx.tx.QueryContext(ctx, `SELECT seq, body FROM events
			WHERE epoch = $1 AND seq >= $2 AND seq <= $3 ORDER BY seq`, epoch, from, to)
		if err != nil {
			return tx.fail(err)
		}
		defer rows.Close()
		var seq uint64
		var body sql.RawBytes
		for rows.Next() {
			if err := rows.Scan(&seq, &body); err != nil {
				return tx.fail(err)
			}
			if more, err := each(seq, body); err != nil || !more {
				return err
			}
		}
		return tx.fail(rows.Err())
	})
}

func scanFeedRow(s scanner) (r FeedRow, err error) {
	var chain []byte
	if err = s.Scan(&r.ID, &r.Seq, &r.Type, &r.Body, &chain); err == nil {
		r.Chain, err = asHash(chain)
	}
	return r, err
}

// EventState is how far an event has come.
type EventState struct {
	ID        string
	Epoch     string // "" until numbered
	Seq       uint64
	Published bool
}

// EventStates reads how far events have come; those that don't exist any more are left out. It reads the primary.
func (db *DB) EventStates(ctx context.Context, ids []string) ([]EventState, error) {
	marks, args := make([]string, len(ids)), make([]any, len(ids))
	for i, id := range ids {
		marks[i], args[i] = "$"+strconv.Itoa(i+1), id
	}
	scan := func(s scanner) (e EventState, err error) {
		err = s.Scan(&e.ID, &e.Epoch, &e.Seq, &e.Published)
		return e, err
	}
	return ask(ctx, db, scan, `SELECT id, COALESCE(epoch, ''), COALESCE(seq, 0), published_at IS NOT NULL
		FROM events WHERE id IN (`+strings.Join(marks, ", ")+`)`, args...)
}

// FeedStanding reads how the feed stands now, without a lock, but for Unpublished. Before the first term it is [ErrNotFound].
func (db *DB) FeedStanding(ctx context.Context) (Lease, error) {
	var l Lease
	err := db.View(ctx, func(tx *Tx) error {
		s, err := tx.feedState(ctx, "")
		l = s.lease(tx.Now())
		return err
	})
	return l, err
}

// FeedUnpublished is [DB.FeedStanding] with Unpublished, of the same moment.
func (db *DB) FeedUnpublished(ctx context.Context) (Lease, error) {
	var l Lease
	err := db.View(ctx, func(tx *Tx) error {
		s, err := tx.feedState(ctx, "")
		if err != nil {
			return err
		}
		l = s.lease(tx.Now())
		l.Unpublished, err = tx.unpublished(ctx, s.FeedPosition)
		return err
	})
	return l, err
}

// Backlog is what the feed has still to do.
type Backlog struct {
	// Unnumbered events are committed and have no seq; Unpublished ones have one and aren't marked as published. Neither
	// is counted beyond backlogLimit.
	Unnumbered, Unpublished int
	// Oldest is how long ago the first of them was written; 0 if there is none.
	Oldest time.Duration
}

const backlogLimit = 10000

// FeedBacklog reads the backlog, whoever is the dispatcher.
func (db *DB) FeedBacklog(ctx context.Context) (Backlog, error) {
	var b Backlog
	err := db.View(ctx, func(tx *Tx) error {
		oldest := tx.Now()
		for _, q := range []struct {
			count *int
			which string
		}{
			{&b.Unnumbered, "seq IS NULL"},
			{&b.Unpublished, "published_at IS NULL AND seq IS NOT NULL AND epoch = (SELECT epoch FROM feed_state WHERE id = 1)"},
		} {
			var first int64
			row := tx.queryRow(ctx, `SELECT count(*), COALESCE(min(created_at), CAST($1 AS BIGINT)) FROM
				(SELECT created_at FROM events WHERE `+q.which+` LIMIT $2) AS waiting`, oldest, backlogLimit)
			if err := row.Scan(q.count, &first); err != nil {
				return db.classify(err)
			}
			oldest = min(oldest, first)
		}
		b.Oldest = time.Duration(tx.Now()-oldest) * time.Microsecond
		return nil
	})
	return b, err
}

// pruneLimit bounds one transaction that prunes.
const pruneLimit = 1000

// revokedKept is how long this database remembers that a token was revoked: a job grant may be that token, or rest on it, and
// is judged by nothing else. The rest is for a clock that was ahead meanwhile.
const revokedKept = MaxGrantLife + events.KeyRetention

// pruneEvents goes by the index of what may have lapsed; what is kept of that is young, and named by its target.
const pruneEvents = `DELETE FROM events WHERE id IN (SELECT id FROM events
	WHERE ((epoch = $1 AND seq < $2) OR (epoch < $1 AND until <= $3)) AND NOT (target LIKE '` + jtiTarget + `%' AND created_at > $4) LIMIT $5)`

// PruneEvents deletes a bounded number of events that nobody needs any more: those of an epoch below a seq, which MUST not
// be above the epoch's floor, and lapsed ones of earlier epochs, but for revocations of one token, which stay for a day. It
// reports whether there may be more. Nothing is numbered in earlier epochs any more and a floor never falls, so it needs no
// lock on the feed.
func (db *DB) PruneEvents(ctx context.Context, epoch string, below uint64) (more bool, err error) {
	err = db.Update(ctx, func(tx *Tx) error {
		n, err := tx.exec(ctx, pruneEvents, epoch, below, tx.Now(), tx.Now()-revokedKept.Microseconds(), pruneLimit)
		more = n == pruneLimit
		return err
	})
	return more, err
}
