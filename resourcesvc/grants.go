package main

import (
	"errors"
	"net/http"
	"strings"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/exchange"
)

// maxGrantedID is how many bytes a job id may have that the issuer binds a grant to.
const maxGrantedID = 256

// mintGrant exchanges the credential of a request for a grant that is good for one job: with it a worker acts for the user
// later, without the user's credential being kept. Without a key of its own the service mints none (nil), and only the user's own
// worker can do the job. Nothing was stored yet, so a failure is a clear answer: a job without its grant would wait for ever,
// and the credential must not be kept until the issuer is back. The client, who has it, tries again.
func (a *api) mintGrant(r *http.Request, jobID string) (*string, error) {
	if a.issuer == nil {
		return nil, nil
	}
	if len(jobID) > maxGrantedID {
		return nil, invalid("job_id", "is longer than 256 bytes")
	}
	credential, kind := sentCredential(r), exchange.TypeAccessToken
	if principal(r).Method == verifier.MethodAPIKey {
		kind = exchange.TypeAPIKey
	}
	grant, err := a.issuer.MintGrant(r.Context(), credential, kind, jobID)
	switch {
	case err == nil:
		return &grant.Value, nil
	case errors.Is(err, exchange.ErrGrant): // since the guard has looked
		return nil, verifier.ErrRevoked
	case errors.Is(err, exchange.ErrRequest): // as a token that was exchanged itself
		return nil, newProblem(http.StatusForbidden, "forbidden", "jobs can't be queued with this credential")
	case errors.Is(err, exchange.ErrClient): // which is logged with the answer
		return nil, err
	default:
		a.log.ErrorContext(r.Context(), "no grant for a job", "err", err)
		return nil, verifier.ErrAuthUnavailable
	}
}

// sentCredential returns the one credential of a request that the guard let in: what stands behind the scheme.
func sentCredential(r *http.Request) string {
	fields := strings.Fields(r.Header.Get("Authorization"))
	return fields[len(fields)-1]
}
