package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
)

// SQLite has one writer, and each of its commits waits for the disk. Short updates therefore share commits: those that
// came while the writer was busy run one after the other in its next transaction, each on the goroutine that called and
// behind a savepoint of its own, so that one that fails leaves nothing behind and the others don't notice.
//
// None returns before the commit, not even one that fails: what it was refused for may be the work of another in the same
// transaction, which isn't true before it is on the disk. When the commit fails, all fail.
//
// A transaction takes only those that came before it began, so that it ends however many come.

// maxRiders bounds how many updates share a commit, and so how long the first of them waits for the last.
const maxRiders = 128

// queue is who waits for the writer.
type queue struct {
	mu      sync.Mutex
	busy    bool // somebody leads
	waiting []*rider
}

// rider is one update.
type rider struct {
	// turn receives the ride when it is this rider's turn in it, or nil when it shall lead the next one.
	turn chan *ride
}

// join returns when it is the caller's turn: in a ride, or with nil to lead one.
func (q *queue) join(ctx context.Context) (*ride, error) {
	me := &rider{turn: make(chan *ride, 1)}
	q.mu.Lock()
	if !q.busy {
		q.busy = true
		q.mu.Unlock()
		return nil, nil
	}
	q.waiting = append(q.waiting, me)
	q.mu.Unlock()
	select {
	case r := <-me.turn:
		return r, nil
	case <-ctx.Done():
		if q.leave(me) {
			return nil, ctx.Err()
		}
		return <-me.turn, nil // it has been taken along: its turn comes
	}
}

func (q *queue) leave(me *rider) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, me)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// board takes along who waits, in the order of their coming.
func (q *queue) board() []*rider {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(maxRiders-1, len(q.waiting))
	boarded := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	return boarded
}

// pass lets the next one lead.
func (q *queue) pass() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy = len(q.waiting) > 0; q.busy {
		q.waiting[0].turn <- nil
		q.waiting = slices.Delete(q.waiting, 0, 1)
	}
}

// share runs fn as [DB.Update] does, in a transaction with others.
func (db *DB) share(ctx context.Context, fn func(tx *Tx) error) error {
	r, err := db.queue.join(ctx)
	switch {
	case err != nil:
		return err
	case r == nil:
		return db.lead(ctx, fn)
	}
	err, mine := r.turn(ctx, fn)
	if !mine {
		<-r.done
	}
	return r.outcome(err, mine)
}

// lead runs a ride, beginning with the leader's own update.
func (db *DB) lead(ctx context.Context, fn func(tx *Tx) error) (err error) {
	defer db.queue.pass()
	conn, err := db.writer.Conn(ctx)
	if err != nil {
		return db.classify(err)
	}
	defer conn.Close()
	begun, err := conn.BeginTx(context.WithoutCancel(ctx), nil) // not only the leader's: the end of its context must not end it
	if err != nil {
		return db.classify(err)
	}
	r := &ride{db: db, tx: begun, ran: make(chan struct{}), done: make(chan struct{})}
	riders := db.queue.board()
	var mine bool
	defer func() { // the others ride on if the leader panics
		r.carry(riders)
		r.end()
		err = r.outcome(err, mine)
	}()
	err, mine = r.run(ctx, fn)
	return err
}

// ride is one transaction of the writer. Its fields are used by whose turn it is, and after done by all.
type ride struct {
	db  *DB
	tx  *sql.Tx
	ran chan struct{} // a turn is over
	// broken is why nothing of this transaction can be committed.
	broken error
	late   []lateEvents
	done   chan struct{} // closed when the outcome is known
	err    error         // of the commit
}

// carry gives each its turn.
func (r *ride) carry(riders []*rider) {
	for _, one := range riders {
		one.turn <- r
		<-r.ran
	}
}

// turn runs an update that isn't the leader's.
func (r *ride) turn(ctx context.Context, fn func(tx *Tx) error) (err error, mine bool) {
	defer func() { r.ran <- struct{}{} }()
	return r.run(ctx, fn)
}

// run runs an update behind a savepoint. mine says that it is the one that broke the transaction.
func (r *ride) run(ctx context.Context, fn func(tx *Tx) error) (err error, mine bool) {
	if r.broken != nil || ctx.Err() != nil {
		return ctx.Err(), false
	}
	tx, kept := &Tx{ctx: ctx, db: r.db, tx: r.tx, riding: true}, false
	defer func() {
		if !kept { // also when fn panics
			r.undo()
		}
		mine = r.broken != nil && tx.failed != nil // a refusal may rest on what others did, which is undone with all the rest
	}()
	if err := r.exec("SAVEPOINT rider"); err != nil {
		tx.failed = err
		return err, true
	}
	if err = fn(tx); err == nil {
		err = tx.failed
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = r.exec("RELEASE rider")
	}
	if kept = err == nil; kept {
		r.late = append(r.late, tx.late)
	}
	return err, false
}

// undo leaves nothing of the running update. After some errors SQLite has rolled everything back already, and knows no
// savepoint any more.
func (r *ride) undo() {
	for _, statement := range []string{"ROLLBACK TO rider", "RELEASE rider"} {
		if err := r.exec(statement); err != nil && r.broken == nil {
			r.broken = err
		}
	}
}

func (r *ride) exec(statement string) error {
	_, err := r.tx.ExecContext(context.Background(), statement)
	return r.db.classify(err)
}

// end commits what there is.
func (r *ride) end() {
	defer close(r.done)
	if r.broken != nil {
		r.tx.Rollback()
		r.err = fmt.Errorf("%w: %w", errAborted, r.broken)
		return
	}
	r.err = r.db.classify(r.tx.Commit())
	for _, late := range r.late {
		late.committed(r.db, r.err)
	}
}

// outcome is what an update returns: its own error stands when the commit succeeded, or when it is why there is none.
func (r *ride) outcome(err error, mine bool) error {
	if !mine && r.err != nil {
		return r.err
	}
	return err
}
