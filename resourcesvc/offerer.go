package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/queue"
)

const (
	// ensureEvery is how late a stream that was lost is noticed.
	ensureEvery = 5 * time.Second
	// recheckEvery is how late single messages are noticed that were lost.
	recheckEvery = time.Minute
	offerTimeout = 5 * time.Second
	offerAtOnce  = 256
)

// offerer puts jobs on the queue. It is the only way there, after a 202 as after a crash: it looks for rows that are due and not
// known to be on the queue, again or for the first time. Each replica has one; the stream takes a job once.
type offerer struct {
	*sweeper
	store    *store
	js       jetstream.JetStream
	replicas int
	left     prometheus.Gauge

	stream    time.Time // when the stream was made
	ensured   time.Time
	rechecked time.Time
	behind    queue.Message // how far a recheck has come; empty: none has begun
}

func newOfferer(s *store, nc *nats.Conn, replicas int, metrics prometheus.Registerer, log *slog.Logger) (*offerer, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(2*offerAtOnce))
	if err != nil {
		return nil, err
	}
	o := &offerer{store: s, js: js, replicas: replicas,
		left: prometheus.NewGauge(prometheus.GaugeOpts{Name: "resourcesvc_jobs_unoffered",
			Help: "Due jobs that could not be put on the queue."})}
	o.sweeper = newSweeper(o.offerAll, "jobs wait until the queue is back", "the job queue is back", log)
	metrics.MustRegister(o.left)
	return o, nil
}

// offerAll offers what is due. After a stream was lost, and once in a while, it offers what waits on it again.
func (o *offerer) offerAll(ctx context.Context) error {
	if err := o.store.sealGrants(ctx); err != nil {
		return err
	}
	if err := o.ensure(ctx); err != nil {
		return err
	}
	for {
		jobs, err := o.store.unoffered(ctx, offerAtOnce)
		if err != nil || len(jobs) == 0 {
			o.left.Set(0)
			return err
		}
		if err := o.offer(ctx, jobs); err != nil {
			o.left.Set(float64(len(jobs)))
			return err
		}
	}
}

func (o *offerer) ensure(ctx context.Context) error {
	now := time.Now()
	if !o.away && now.Sub(o.ensured) < ensureEvery {
		return nil
	}
	made, err := o.makeStream(ctx)
	if err != nil {
		return err
	}
	o.ensured = now
	if !made.Equal(o.stream) {
		o.stream, o.rechecked, o.behind = made, time.Time{}, queue.Message{}
	}
	if now.Sub(o.rechecked) < recheckEvery {
		return nil
	}
	if err := o.recheck(ctx); err != nil {
		return err
	}
	o.rechecked = now
	return nil
}

func (o *offerer) makeStream(ctx context.Context) (made time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, offerTimeout)
	defer cancel()
	return queue.Ensure(ctx, o.js, o.replicas)
}

// recheck offers all jobs that wait. After an error it goes on where it was.
func (o *offerer) recheck(ctx context.Context) error {
	for {
		jobs, err := o.store.waiting(ctx, o.behind, offerAtOnce)
		if err != nil {
			return err
		}
		if len(jobs) == 0 {
			o.behind = queue.Message{}
			return nil
		}
		if err := o.offer(ctx, jobs); err != nil {
			return err
		}
		o.behind = jobs[len(jobs)-1]
	}
}

// offer notes the jobs that the queue has by now, also when it doesn't have all.
func (o *offerer) offer(ctx context.Context, jobs []queue.Message) error {
	offering, cancel := context.WithTimeout(ctx, offerTimeout)
	defer cancel()
	at := o.store.now()
	there, err := queue.Offer(offering, o.js, jobs)
	if noted := o.store.offered(ctx, at, there); noted != nil {
		return noted
	}
	return err
}
