package httpapi

import (
	"context"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

const tagRevocation = "Revocation"

type revocationInput struct {
	WaitQuery
	Body struct {
		Token        *string    `json:"token,omitempty"`
		JTI          *string    `json:"jti,omitempty"`
		SessionID    *string    `json:"session_id,omitempty"`
		UserID       *string    `json:"user_id,omitempty"`
		UserIDs      []string   `json:"user_ids,omitempty" maxItems:"1000"`
		Role         *string    `json:"role,omitempty"`
		APIKeyID     *string    `json:"api_key_id,omitempty"`
		IssuedBefore *time.Time `json:"issued_before,omitempty"`
		All          bool       `json:"all,omitempty"`
		Keys         *bool      `json:"keys,omitempty" doc:"Extends issued_before and all to API keys"`
		Reason       string     `json:"reason,omitempty"`
	}
}

func (s *Server) registerRevocations() {
	register(s, call{method: post, path: "/v1/admin/users/{id}/revoke", id: "revoke-user", tag: tagRevocation, access: admin,
		summary: "End all sessions and tokens of a user; API keys live on"}, s.postRevokeUser)
	register(s, call{method: post, path: "/v1/admin/revocations", id: "revoke", tag: tagRevocation, access: admin,
		summary: "End what exactly one selector names"}, s.postRevocation)
	register(s, call{method: get, path: "/v1/admin/revocations", id: "list-revocations", tag: tagRevocation, access: admin,
		summary: "Revocations that still matter to verifiers"}, s.getRevocations)
}

func (s *Server) postRevokeUser(ctx context.Context, c auth.Caller, in *ObjectChange) (*receiptAnswer[Receipt], error) {
	return s.revoke(ctx, in.WaitQuery, func() (auth.Change, error) { return s.auth.RevokeUser(ctx, c, in.ID) })
}

func (s *Server) postRevocation(ctx context.Context, c auth.Caller, in *revocationInput) (*receiptAnswer[Receipt], error) {
	b := in.Body
	return s.revoke(ctx, in.WaitQuery, func() (auth.Change, error) {
		return s.auth.Revoke(ctx, c, auth.Revocation{Token: b.Token, JTI: b.JTI, SessionID: b.SessionID, UserID: b.UserID, UserIDs: b.UserIDs,
			Role: b.Role, APIKeyID: b.APIKeyID, IssuedBefore: b.IssuedBefore, All: b.All, Keys: b.Keys, Reason: b.Reason})
	})
}

// revoke answers with the receipt as body too.
func (s *Server) revoke(ctx context.Context, q WaitQuery, do func() (auth.Change, error)) (*receiptAnswer[Receipt], error) {
	var out receiptAnswer[Receipt]
	var err error
	out.Body, out.ReceiptHeader, err = s.narrow(ctx, q, do)
	return &out, err
}

func (s *Server) getRevocations(ctx context.Context, c auth.Caller, in *PageQuery) (*answer[auth.Page[auth.RevocationEntry]], error) {
	return pageOf(s.auth.Revocations(ctx, c, in.request()))
}
