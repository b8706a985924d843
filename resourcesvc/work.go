package main

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
)

// A worker claims a job, which gives it a lease and, if there is one, the job's grant. It renews the lease while it works, and
// ends the job or puts it back. A worker of the service (role worker) names the tenant in the path: it can claim and
// end anybody's job, but reads no payload and stores no result, for which it needs the tenant's grant. A user's own
// worker does the same with the user's own key.

// claim is what a worker gets. The grant is a secret.
type claim struct {
	JobID   string `json:"job_id"`
	Claim   int64  `json:"claim"`
	LeaseMS int64  `json:"lease_ms"`
	Grant   string `json:"grant,omitempty"`
}

// jobRules say how patient the service is.
type jobRules struct {
	Lease time.Duration // how long a worker may be silent
	Tries int           // how often a job is tried
}

// tenant finds out whose job a request is about.
type tenant func(r *http.Request) (user string, err error)

// own is the tenant of those who work for themselves.
func own(r *http.Request) (string, error) { return principal(r).Subject, nil }

// named is the tenant in the path. Its route requires the role worker.
func named(r *http.Request) (string, error) {
	user := param(r, "user_id")
	if id, err := uuid.Parse(user); err != nil || id.String() != user {
		return "", invalid("user_id", "is not a user's id")
	}
	return user, nil
}

// job returns the tenant and the job of a request.
func (of tenant) job(r *http.Request) (user, id string, err error) {
	if user, err = of(r); err == nil {
		id, err = jobID(r)
	}
	return user, id, err
}

// claimJob gives the job in the path to a worker of the service.
func (a *api) claimJob(w http.ResponseWriter, r *http.Request) error {
	user, id, err := tenant(named).job(r)
	if err != nil {
		return err
	}
	c, err := a.store.claim(r.Context(), user, id, a.rules, false)
	if err != nil {
		return err
	}
	return writeClaim(w, c)
}

// claimAny gives one of the caller's jobs to the caller's own worker, as soon as there is one. 204: there is none.
func (a *api) claimAny(w http.ResponseWriter, r *http.Request) error {
	wait, err := parseWait(r.URL.Query().Get("wait"))
	if err != nil {
		return err
	}
	outlast(w, wait)
	c, err := a.claimDue(r)
	if errors.Is(err, errNotFound) && wait > 0 {
		err = a.poll(r, wait, func() (bool, error) {
			c, err = a.claimDue(r)
			return err == nil, ignore(err, errNotFound)
		})
	}
	switch {
	case ignore(err, errNotFound) != nil:
		return err
	case c.Claim == 0:
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return writeClaim(w, c)
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

// claimDue claims a due job of the caller. Somebody may be faster, or the job be given up: then there is none yet.
func (a *api) claimDue(r *http.Request) (claim, error) {
	user := principal(r).Subject
	id, err := a.store.dueJob(r.Context(), user)
	if err != nil {
		return claim{}, err
	}
	c, err := a.store.claim(r.Context(), user, id, a.rules, true)
	if errors.Is(err, errTaken) || errors.Is(err, errOver) {
		return claim{}, errNotFound
	}
	return c, err
}

func writeClaim(w http.ResponseWriter, c claim) error {
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, c)
}

type renewal struct {
	Claim int64 `json:"claim"`
}

func (a *api) renewClaim(of tenant) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		var in renewal
		user, id, err := of.job(r)
		if err == nil {
			err = decodeBody(w, r, &in)
		}
		if err == nil {
			err = a.store.renew(r.Context(), user, id, in.Claim, a.rules.Lease)
		}
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// The outcomes of a claim that gave no result.
const (
	outcomeReturned = "returned" // nothing was learned about the job, which is put back and not counted
	outcomeRetry    = "retry"    // it went wrong, and may go well another time
	outcomeFailed   = statusFailed
	outcomeRefused  = statusRefused
)

type ending struct {
	Claim   int64  `json:"claim"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
}

func (e ending) check() error {
	switch e.Outcome {
	case outcomeReturned, outcomeRetry, outcomeFailed, outcomeRefused:
		return checkText("reason", e.Reason)
	}
	return invalid("outcome", "must be one of "+strings.Join([]string{outcomeReturned, outcomeRetry, outcomeFailed, outcomeRefused}, ", "))
}

// endClaim ends a job without a result, or puts it back. It answers what has become of it.
func (a *api) endClaim(of tenant) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		var in ending
		user, id, err := of.job(r)
		if err == nil {
			err = decodeBody(w, r, &in)
		}
		if err == nil {
			err = in.check()
		}
		if err == nil {
			err = a.end(r, user, id, in)
		}
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func (a *api) end(r *http.Request, user, id string, in ending) error {
	ctx := r.Context()
	tries, err := a.store.tried(ctx, user, id)
	if err != nil {
		return err
	}
	status := in.Outcome
	switch {
	case in.Outcome == outcomeReturned:
		return a.store.putBack(ctx, user, id, in.Claim, backoff(int(min(in.Claim, 100))), false)
	case in.Outcome == outcomeRetry && tries < a.rules.Tries:
		return a.store.putBack(ctx, user, id, in.Claim, backoff(tries), true)
	case in.Outcome == outcomeRetry:
		status = statusFailed
	}
	if err := a.store.fail(ctx, user, id, in.Claim, status, in.Reason); err != nil {
		return err
	}
	a.log.WarnContext(ctx, "job ended without a result", "status", status, "user", user, "job", id, "reason", in.Reason, "tries", tries)
	return nil
}

const (
	firstPause = time.Second
	maxPause   = 5 * time.Minute
)

// backoff is the pause after so many tries, or claims: twice as long each time, and anything between half and all of it, so that jobs that
// failed together don't come back together.
func backoff(tries int) time.Duration {
	pause := min(firstPause<<min(max(tries-1, 0), 16), maxPause)
	return pause/2 + rand.N(pause/2)
}

type jobResult struct {
	Result json.RawMessage `json:"result"`
}

// putResult finishes a job of the credential's user: of nobody else's, whatever a message or a worker says. The first result
// stands.
func (a *api) putResult(w http.ResponseWriter, r *http.Request) error {
	var in jobResult
	id, err := jobID(r)
	if err == nil {
		err = decodeBody(w, r, &in)
	}
	if err == nil {
		err = checkPart("result", in.Result)
	}
	if err != nil {
		return err
	}
	j, err := a.store.finish(r.Context(), principal(r).Subject, id, in.Result)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, j)
}
