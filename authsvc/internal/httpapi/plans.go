package httpapi

import (
	"context"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

const tagQuotas = "Plans and quotas"

type plansInput struct {
	Body struct {
		Plans []auth.Plan `json:"plans" maxItems:"100"`
	}
}

type resetInput struct {
	IDPath
	Resource string `query:"resource" maxLength:"32" doc:"Of this resource alone"`
}

func (s *Server) registerPlans() {
	register(s, call{method: get, path: "/v1/admin/plans", id: "list-plans", tag: tagQuotas, access: admin,
		summary: "All plans with their limits"}, s.getPlans)
	register(s, call{method: put, path: "/v1/admin/plans", id: "set-plans", tag: tagQuotas, access: admin,
		summary: "Replace all plans; users whose plan is left out have no limits"}, s.putPlans)
	register(s, call{method: get, path: "/v1/me/usage", id: "get-own-usage", tag: tagQuotas, access: either,
		summary: "What counts against the limits of the caller's plan"}, s.getOwnUsage)
	register(s, call{method: get, path: "/v1/admin/users/{id}/usage", id: "get-usage", tag: tagQuotas, access: admin,
		summary: "What counts against the limits of a user's plan, and which services have spent it"}, s.getUsage)
	register(s, call{method: remove, path: "/v1/admin/users/{id}/usage", id: "reset-usage", tag: tagQuotas, access: admin,
		summary: "Forget what a user has spent in the windows that are open"}, s.deleteUsage)
}

func (s *Server) getPlans(ctx context.Context, c auth.Caller, _ *empty) (*answer[auth.Plans], error) {
	plans, err := s.auth.Plans(ctx, c)
	return &answer[auth.Plans]{Body: plans}, err
}

func (s *Server) putPlans(ctx context.Context, c auth.Caller, in *plansInput) (*answer[auth.Plans], error) {
	plans, err := s.auth.SetPlans(ctx, c, in.Body.Plans)
	return &answer[auth.Plans]{Body: plans}, err
}

func (s *Server) getOwnUsage(ctx context.Context, c auth.Caller, _ *empty) (*answer[auth.UsageList], error) {
	list, err := s.auth.OwnUsage(ctx, c)
	return &answer[auth.UsageList]{Body: list}, err
}

func (s *Server) getUsage(ctx context.Context, c auth.Caller, in *IDPath) (*answer[auth.UsageList], error) {
	list, err := s.auth.UserUsage(ctx, c, in.ID)
	return &answer[auth.UsageList]{Body: list}, err
}

func (s *Server) deleteUsage(ctx context.Context, c auth.Caller, in *resetInput) (*empty, error) {
	return &empty{}, s.auth.ResetUsage(ctx, c, in.ID, in.Resource)
}
