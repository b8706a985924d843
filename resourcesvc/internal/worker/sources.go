package worker

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/queue"
)

// ownJobs are those of the key's user. The service gives them, so that a user's worker has no part in the bus, where it would
// see whose jobs wait.
type ownJobs struct{ w *worker }

// claimWait is how long one question for a job may wait.
const claimWait = 20 * time.Second

func (o ownJobs) next(ctx context.Context) (*assignment, error) {
	a, err := o.w.service.claimAny(ctx, o.w.own(), claimWait)
	if ctx.Err() != nil {
		return nil, nil // what was claimed just then, others get when its lease ends
	}
	return a, err
}

// queuedJobs are those of all users.
type queuedJobs struct {
	w    *worker
	conn *nats.Conn
	js   jetstream.JetStream
}

func (w *worker) openQueue(ctx context.Context) (*queuedJobs, error) {
	conn, err := queue.Connect(queue.Options{URL: w.NATSURL, Creds: w.NATSCreds, Service: w.Service, Name: w.Service + " worker", Log: w.log})
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		queue.Close(conn)
		return nil, err
	}
	return &queuedJobs{w: w, conn: conn, js: js}, nil
}

func (q *queuedJobs) close() { queue.Close(q.conn) }

// fetchWait is short, so that a worker that stops doesn't leave a question behind which a message would be the answer to.
const fetchWait = time.Second

// next takes a message and claims the job that it names. Then the message is done: what is to be done stands in the service's
// database, under a lease, and is offered again if this worker is never heard of again.
func (q *queuedJobs) next(ctx context.Context) (*assignment, error) {
	message, err := q.fetch()
	if err != nil || message == nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, message.Nak() // for another worker, at once
	}
	named, err := queue.Decode(message.Data())
	if err != nil {
		q.w.log.ErrorContext(ctx, "a message of the job queue is dropped", "err", err)
		return nil, message.Term()
	}
	return q.claim(ctx, named, message)
}

func (q *queuedJobs) claim(ctx context.Context, named queue.Message, message jetstream.Msg) (*assignment, error) {
	a, err := q.w.service.claim(ctx, q.w.own(), named.UserID, named.JobID)
	switch {
	case err == nil:
		if err := message.Ack(); err != nil { // it comes again, and then the job is taken
			q.w.log.WarnContext(ctx, "a message of the job queue isn't acknowledged", "err", err)
		}
		return a, nil
	case isTaken(err):
		return q.claimAgain(ctx, named, message)
	case errors.Is(err, errGone): // done, or nobody's
		return nil, message.Ack()
	case isHopeless(err):
		q.w.log.ErrorContext(ctx, "a message of the job queue is dropped", "err", err)
		return nil, message.Term()
	default:
		return nil, errors.Join(err, message.NakWithDelay(fetchWait))
	}
}

// claimAgain asks once more for a job that was taken, or rested. It may have become due since, and be noted as offered because this message
// was still there. So the message goes first: until it was gone the job was due, and is so now, or it is offered anew. A replicated stream confirms
// a moment before the message is gone; what falls between is found by the service's recheck.
func (q *queuedJobs) claimAgain(ctx context.Context, named queue.Message, message jetstream.Msg) (*assignment, error) {
	confirmed, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	if err := message.DoubleAck(confirmed); err != nil {
		return nil, err
	}
	a, err := q.w.service.claim(ctx, q.w.own(), named.UserID, named.JobID)
	switch {
	case errors.Is(err, errGone):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return a, nil
}

const ackTimeout = 5 * time.Second

func isTaken(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.code == "job_taken"
}

// isHopeless reports whether a claim will never be answered in another way.
func isHopeless(err error) bool {
	var r *refusal
	return errors.As(err, &r) && (r.status == http.StatusBadRequest || r.status == http.StatusRequestEntityTooLarge)
}

func (q *queuedJobs) fetch() (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(q.w.working, 5*time.Second)
	defer cancel()
	consumer, err := q.js.Consumer(ctx, queue.Stream, queue.Consumer)
	if err != nil {
		return nil, err
	}
	message, err := consumer.Next(jetstream.FetchMaxWait(fetchWait))
	if errors.Is(err, nats.ErrTimeout) {
		return nil, nil
	}
	return message, err
}
