package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/exchange"
)

// unfinished is how a claim ends without a result; see the service's POST …/end.
type unfinished struct {
	outcome, reason string
	cause           error // after which the worker pauses, or stops; nil: it goes on
}

func (u *unfinished) Error() string { return u.outcome + ": " + u.reason }

// The outcomes.
const (
	returned = "returned" // nothing was learned about the job
	retry    = "retry"
	failed   = "failed"
	refused  = "refused"
)

// do does one job and reports how it ended. Its error says that the worker should pause, or stop.
func (w *worker) do(a *assignment) error {
	ctx, cancel := context.WithTimeoutCause(w.working, w.JobTimeout, errSlow)
	defer cancel()
	held := w.hold(ctx, a)
	began := time.Now()
	err := w.finish(held.ctx, a)
	held.release()
	var u *unfinished
	switch {
	case err == nil:
		w.log.InfoContext(ctx, "job done", "job", a.JobID, "claim", a.Claim, "took", time.Since(began).Round(time.Millisecond))
		return nil
	case held.lost():
		w.log.WarnContext(ctx, "job lost to another worker", "job", a.JobID, "claim", a.Claim)
		return nil
	case w.working.Err() != nil:
		u = &unfinished{returned, "the worker stops", nil}
	case ctx.Err() != nil:
		u = &unfinished{retry, errSlow.Error(), nil}
	case !errors.As(err, &u):
		u = &unfinished{retry, err.Error(), nil}
	}
	return w.report(a, u)
}

var errSlow = errors.New("the work took too long")

// report tells the service how a claim ended. If it can't, the lease ends, and another worker tries.
func (w *worker) report(a *assignment, u *unfinished) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.working), 5*time.Second)
	defer cancel()
	w.log.WarnContext(ctx, "job not done", "job", a.JobID, "claim", a.Claim, "outcome", u.outcome, "reason", u.reason)
	err := w.service.end(ctx, w.own(), a, u.outcome, short(u.reason))
	if errors.Is(err, errGone) {
		err = nil
	}
	return errors.Join(u.cause, err)
}

// short cuts a reason to what the service takes.
func short(reason string) string {
	const most = 200
	if len(reason) > most {
		reason = reason[:most]
	}
	return strings.ToValidUTF8(reason, "")
}

// finish acts for the job's user: it reads the payload, has it computed and stores the result, all with a credential of that user.
// What the queue's message said plays no part in it.
func (w *worker) finish(ctx context.Context, a *assignment) error {
	as := w.actFor(a)
	authorization, err := as.authorization(ctx)
	if err != nil {
		return err
	}
	payload, err := w.service.payload(ctx, authorization, a.JobID)
	if err != nil {
		return as.refused("the service", err)
	}
	result, err := w.compute(ctx, authorization, payload)
	if err != nil {
		return as.refused("the compute service", err)
	}
	if authorization, err = as.authorization(ctx); err != nil { // the work may have outlasted the first one
		return err
	}
	if err := w.service.store(ctx, authorization, a.JobID, result); err != nil {
		return as.refused("the service", err)
	}
	return nil
}

// maxResult is the service's.
const maxResult = 63 << 10

// compute has the work done. It knows only payloads; what it answers is the result.
func (w *worker) compute(ctx context.Context, authorization string, payload json.RawMessage) (result json.RawMessage, err error) {
	got, err := send(ctx, w.service.http, "POST", w.ComputeURL, authorization, map[string]any{"payload": payload})
	if err != nil {
		return nil, err
	}
	switch {
	case isPermanent(got.status):
		return nil, &unfinished{failed, "the compute service: " + got.refusal().Error(), nil}
	case got.isAboutTheJob():
		return nil, got.refusal()
	}
	if err = got.decode(&result); err == nil && (len(result) == 0 || len(result) > maxResult) {
		return nil, &unfinished{failed, "the result is empty or larger than 63 KiB", nil}
	}
	return result, err
}

// isPermanent reports whether the same job will get the same answer.
func isPermanent(status int) bool {
	return slices.Contains([]int{http.StatusBadRequest, http.StatusConflict, http.StatusGone,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity}, status)
}

// isAboutTheJob reports whether the work was begun, or refused: the next try may end otherwise, but one that breaks the compute
// service must not be repeated for ever. That may be of any make, and its refusals no problems, so that here a 500 counts, which no gateway says of
// a server that is away, and any 4xx counts too.
func (a answer) isAboutTheJob() bool {
	return a.status >= 400 && a.status <= 500 && a.status != http.StatusTooManyRequests || a.isRefusal()
}

// acting is how a worker acts for the user of one job.
type acting struct {
	w     *worker
	job   *assignment
	token exchange.Token
}

func (w *worker) actFor(a *assignment) *acting { return &acting{w: w, job: a} }

// early is how long before its end a token is replaced.
const early = 30 * time.Second

// authorization returns a credential of the job's user: a token for which the grant is exchanged, or the worker's own key,
// which is that user's.
func (as *acting) authorization(ctx context.Context) (string, error) {
	if as.job.own {
		return as.w.own(), nil
	}
	if time.Until(as.token.Expires) < early {
		token, err := as.w.issuer.Redeem(ctx, as.job.Grant, as.job.JobID)
		if err != nil {
			return "", refusedExchange(err)
		}
		as.token = token
	}
	return "Bearer " + as.token.Value, nil
}

func refusedExchange(err error) error {
	switch {
	case errors.Is(err, exchange.ErrGrant):
		return &unfinished{refused, "the user's grant is no longer good", nil}
	case errors.Is(err, exchange.ErrRequest):
		return &unfinished{failed, err.Error(), nil}
	default: // the issuer is away, or the worker's own key is dead: the job has nothing to do with it
		return &unfinished{returned, "the grant can't be exchanged right now", err}
	}
}

// refused says what an error of who was called with the user's credential means for the job. A refused token is tried again: the
// next exchange knows whether its user may still be acted for.
func (as *acting) refused(who string, err error) error {
	var u *unfinished
	var r *refusal
	switch {
	case errors.As(err, &u):
		return u
	case errors.Is(err, errGone): // over by now, or it never was this user's
		return &unfinished{failed, who + " knows no such job of this user", nil}
	case errors.Is(err, errBusy): // with this job's user only: others may go on
		return &unfinished{returned, who + " is busy", nil}
	case errors.Is(err, errAway):
		return &unfinished{returned, who + " is away", fmt.Errorf("%s: %w", who, err)}
	case errors.As(err, &r) && r.status == http.StatusUnauthorized && as.job.own:
		return &unfinished{returned, "the worker's key is refused", fmt.Errorf("%w: %s", errOwnKey, r.code)}
	case errors.As(err, &r) && isPermanent(r.status):
		return &unfinished{failed, who + ": " + r.Error(), nil}
	case errors.As(err, &r):
		return &unfinished{retry, who + ": " + r.Error(), nil}
	}
	return &unfinished{retry, who + " gave no answer", nil}
}
