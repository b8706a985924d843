package httpapi

import (
	"context"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

const tagJobGrants = "Job grants"

type spentGrantsInput struct {
	Body struct {
		JobGrants []string `json:"job_grants" minItems:"1" maxItems:"64" doc:"Of jobs that are over. What is no job grant of the caller's mode is passed over"`
	}
}

func (s *Server) registerJobGrants() {
	register(s, call{method: post, path: "/v1/job-grants/spent", id: "spend-job-grants", tag: tagJobGrants, access: queue,
		summary: "End job grants for exchange, their jobs being over. Verifiers aren't told: tokens that were exchanged before live on, for five minutes at most. To end those too, revoke the grant"},
		s.postSpentGrants)
}

func (s *Server) postSpentGrants(ctx context.Context, c auth.Caller, in *spentGrantsInput) (*struct{}, error) {
	return nil, s.auth.SpendGrants(ctx, c, in.Body.JobGrants)
}
