package httpapi

import (
	"context"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

const tagOperation = "Operation"

type keysQuery struct {
	PageQuery
	Prefix   string `query:"prefix" maxLength:"32" doc:"Leading characters of the key"`
	User     string `query:"user" maxLength:"36" doc:"User id"`
	Expiring string `query:"expiring" maxLength:"40" doc:"Only living keys that die within this duration, such as 168h, or before this time"`
}

type serviceInput struct {
	Body struct {
		Name string `json:"name" doc:"[a-z0-9_-]{1,32}"`
	}
}

type serviceName struct {
	Name string `path:"name" pattern:"^[a-z0-9_-]{1,32}$" patternDescription:"1 to 32 of a-z, 0-9, _ and -"`
}

type rotateInput struct {
	WaitQuery
	Body *struct {
		Emergency bool `json:"emergency,omitempty" doc:"Drops the old keys everywhere at once: every living access token dies"`
	}
}

type rotatedSigningKey struct {
	KID string `json:"kid"`
}

type rotateFeedInput struct {
	Body *struct {
		Ahead     string `json:"ahead,omitempty" maxLength:"40" doc:"How long the new key is published before it signs, such as 24h; default 10m"`
		Emergency bool   `json:"emergency,omitempty" doc:"Drops the old keys at once, and the new one signs at once"`
	}
}

func (s *Server) registerFleet() {
	register(s, call{method: get, path: "/v1/admin/verifiers", id: "list-verifiers", tag: tagOperation, access: admin,
		summary: "Every living verifier"}, s.getVerifiers)
	register(s, call{method: get, path: "/v1/admin/audit", id: "list-audit", tag: tagOperation, access: admin,
		summary: "The audit log"}, s.getAudit)
	register(s, call{method: get, path: "/v1/admin/api-keys", id: "list-all-api-keys", tag: tagKeys, access: admin,
		summary: "Keys of all users, without secrets"}, s.getAllKeys)
	register(s, call{method: get, path: "/v1/admin/services", id: "list-services", tag: tagOperation, access: admin,
		summary: "Resource services that may join the bus"}, s.getServices)
	register(s, call{method: post, path: "/v1/admin/services", id: "add-service", tag: tagOperation, access: admin, status: 201,
		summary: "Let a resource service join the bus"}, s.postService)
	register(s, call{method: remove, path: "/v1/admin/services/{name}", id: "remove-service", tag: tagOperation, access: admin,
		summary: "Shut a resource service out"}, s.deleteService)
	register(s, call{method: post, path: "/v1/admin/signing-keys/rotate", id: "rotate-signing-key", tag: tagOperation, access: admin,
		summary: "Make a new token signing key"}, s.postRotate)
	register(s, call{method: post, path: "/v1/admin/feed-keys/rotate", id: "rotate-feed-key", tag: tagOperation, access: admin,
		summary: "Make a new feed key"}, s.postRotateFeed)
}

func (s *Server) getVerifiers(ctx context.Context, c auth.Caller, _ *empty) (*answer[auth.Page[Verifier]], error) {
	if err := s.auth.RequireAdmin(c); err != nil {
		return nil, err
	}
	return pageOf(auth.Page[Verifier]{Items: s.fleets.Verifiers()}, nil)
}

func (s *Server) getAudit(ctx context.Context, c auth.Caller, in *PageQuery) (*answer[auth.Page[auth.AuditEntry]], error) {
	return pageOf(s.auth.Audit(ctx, c, in.request()))
}

func (s *Server) getAllKeys(ctx context.Context, c auth.Caller, in *keysQuery) (*answer[auth.Page[auth.APIKey]], error) {
	q := auth.KeyQuery{PageRequest: in.request(), Prefix: in.Prefix, User: in.User}
	if in.Expiring != "" {
		var err error
		if q.ExpiringBefore, err = s.deadline(in.Expiring); err != nil {
			return nil, err
		}
	}
	return pageOf(s.auth.AllAPIKeys(ctx, c, q))
}

// deadline reads a time, or a duration from now.
func (s *Server) deadline(text string) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	within, err := time.ParseDuration(text)
	if err != nil || within < 0 {
		return time.Time{}, invalidField("expiring", "must be a duration such as 168h, or a time of RFC 3339")
	}
	return s.now().Add(within), nil
}

func (s *Server) getServices(ctx context.Context, c auth.Caller, _ *empty) (*answer[auth.Page[auth.BusService]], error) {
	services, err := s.auth.Services(ctx, c)
	return pageOf(auth.Page[auth.BusService]{Items: services}, err)
}

func (s *Server) postService(ctx context.Context, c auth.Caller, in *serviceInput) (*answer[auth.AddedService], error) {
	added, err := s.auth.AddService(ctx, c, in.Body.Name)
	return &answer[auth.AddedService]{Body: added}, err
}

func (s *Server) deleteService(ctx context.Context, c auth.Caller, in *serviceName) (*empty, error) {
	return &empty{}, s.auth.RemoveService(ctx, c, in.Name)
}

func (s *Server) postRotate(ctx context.Context, c auth.Caller, in *rotateInput) (*receiptAnswer[rotatedSigningKey], error) {
	var out receiptAnswer[rotatedSigningKey]
	var err error
	_, out.ReceiptHeader, err = s.narrow(ctx, in.WaitQuery, func() (change auth.Change, err error) {
		out.Body.KID, change, err = s.auth.RotateSigningKey(ctx, c, in.Body != nil && in.Body.Emergency)
		return change, err
	})
	return &out, err
}

func (s *Server) postRotateFeed(ctx context.Context, c auth.Caller, in *rotateFeedInput) (*answer[auth.FeedKey], error) {
	var ahead string
	emergency := false
	if in.Body != nil {
		ahead, emergency = in.Body.Ahead, in.Body.Emergency
	}
	wait, err := aheadOf(ahead, emergency)
	if err != nil {
		return nil, err
	}
	made, err := s.auth.RotateFeedKey(ctx, c, wait, emergency)
	return &answer[auth.FeedKey]{Body: made}, err
}

func aheadOf(text string, emergency bool) (time.Duration, error) {
	switch {
	case text != "":
		ahead, err := time.ParseDuration(text)
		if err != nil {
			return 0, invalidField("ahead", "must be a duration such as 24h")
		}
		return ahead, nil
	case emergency:
		return 0, nil
	}
	return auth.DefaultFeedKeyAhead, nil
}
