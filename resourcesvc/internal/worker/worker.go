// Package worker does queued jobs: it claims one, acts for the job's user, calls the compute service and stores the result.
//
// With a key whose user has the role worker it is a worker of the service: it takes jobs of all users from the queue and turns
// each one's grant into an access token of its user. With any other key it is that user's own worker: it asks the service for
// the user's jobs, needs neither queue nor grant, and never hears of anybody else's.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/exchange"
)

// Settings are a worker's.
type Settings struct {
	ServiceURL, ComputeURL, Issuer string
	Key                            string // the worker's own API key, a secret
	NATSURL, NATSCreds, Service    string
	Concurrency                    int
	JobTimeout                     time.Duration
}

// stopTimeout is how long jobs that are being done may go on when the worker stops; then they are given back.
const stopTimeout = 10 * time.Second

type worker struct {
	Settings
	service service
	issuer  *exchange.Client
	log     *slog.Logger
	// working ends when jobs have to be given back.
	working context.Context
}

// source gives a worker something to do: a job, nil when there is none right now, or an error after which it pauses.
type source interface {
	next(ctx context.Context) (*assignment, error)
}

// Run works until ctx ends, and returns when what had begun is done or given back. It fails only when the worker's own key is
// refused, or the configuration is wrong.
func Run(ctx context.Context, s Settings, log *slog.Logger) error {
	client := exchange.NewHTTP()
	defer client.CloseIdleConnections()
	w := &worker{
		Settings: s, log: log,
		service: service{base: s.ServiceURL, http: client},
		issuer:  &exchange.Client{Issuer: s.Issuer, Key: s.Key, HTTP: client},
	}
	me, err := w.whoami(ctx)
	if err != nil || ctx.Err() != nil {
		return err
	}
	if !slices.Contains(me.Roles, "worker") {
		log.InfoContext(ctx, "working for one user, as the key lacks the role worker", "user", me.Subject, "key", me.KeyID)
		return w.work(ctx, ownJobs{w})
	}
	jobs, err := w.openQueue(ctx)
	if err != nil {
		return err
	}
	defer jobs.close()
	log.InfoContext(ctx, "working for all users", "user", me.Subject, "key", me.KeyID)
	return w.work(ctx, jobs)
}

// own is the worker's own authorization.
func (w *worker) own() string { return "Api-Key " + w.Key }

// whoami waits until the service says who the worker is.
func (w *worker) whoami(ctx context.Context) (me identity, err error) {
	for pause := newPause(); ctx.Err() == nil; pause.wait(ctx) {
		me, err = w.service.whoami(ctx, w.own())
		if err == nil || isOwnFault(err) {
			return me, err
		}
		w.log.WarnContext(ctx, "the service can't be asked yet", "err", err)
	}
	return me, nil
}

// work does jobs, several at once, until ctx ends.
func (w *worker) work(ctx context.Context, from source) error {
	taking, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	working, giveBack := context.WithCancel(context.WithoutCancel(ctx))
	defer giveBack()
	w.working = working
	context.AfterFunc(taking, func() { time.AfterFunc(stopTimeout, giveBack) })
	var all sync.WaitGroup
	for range w.Concurrency {
		all.Go(func() {
			if err := w.take(taking, from); err != nil {
				stop(err)
			}
		})
	}
	all.Wait()
	if err := context.Cause(taking); ctx.Err() == nil && err != nil {
		return err
	}
	return nil
}

// take does one job after the other. What is away is asked again later and later.
func (w *worker) take(ctx context.Context, from source) error {
	pause := newPause()
	for ctx.Err() == nil {
		job, err := from.next(ctx)
		if err == nil && job != nil {
			err = w.do(job)
		}
		switch {
		case isOwnFault(err):
			return fmt.Errorf("the worker's own API key is refused: %w", err)
		case err != nil && ctx.Err() == nil:
			w.log.WarnContext(ctx, "no job can be done for the moment", "err", err)
			pause.wait(ctx)
		default:
			pause = newPause()
		}
	}
	return nil
}

// isOwnFault reports whether the worker's own key was refused, so that it can do nothing.
func isOwnFault(err error) bool {
	return errors.Is(err, errOwnKey) || errors.Is(err, exchange.ErrClient)
}

// pause grows from a quarter of a second to half a minute, with jitter, so that workers don't come back in step.
type pause time.Duration

func newPause() *pause { return new(pause(250 * time.Millisecond)) }

func (p *pause) wait(ctx context.Context) {
	d := time.Duration(*p)
	*p = pause(min(2*d, 30*time.Second))
	timer := time.NewTimer(d/2 + rand.N(d/2))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
