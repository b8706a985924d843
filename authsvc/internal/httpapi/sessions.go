package httpapi

import (
	"context"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const tagSession = "Sessions"

// me is the caller's user and how they authenticated.
type me struct {
	auth.User
	Method    string      `json:"method" enum:"bearer,api_key"`
	Mode      events.Mode `json:"mode" enum:"live,test"`
	SessionID string      `json:"session_id,omitempty"`
	KeyID     string      `json:"key_id,omitempty"`
	AuthTime  *time.Time  `json:"auth_time,omitempty"`
	AMR       []string    `json:"amr,omitempty" doc:"RFC 8176"`
}

// ObjectChange is a change of one object that answers with nothing but the receipt.
type ObjectChange struct {
	IDPath
	WaitQuery
}

func (s *Server) registerSessions() {
	register(s, call{method: get, path: "/v1/me", id: "get-me", tag: tagAccount, access: either,
		summary: "The caller's user, and how they authenticated"}, s.getMe)
	register(s, call{method: post, path: "/v1/logout", id: "logout", tag: tagSession, access: bearer,
		summary: "End this session"}, s.postLogout)
	register(s, call{method: post, path: "/v1/logout/all", id: "logout-all", tag: tagSession, access: bearer,
		summary: "End every session of the caller; API keys live on"}, s.postLogoutAll)
	register(s, call{method: get, path: "/v1/me/sessions", id: "list-sessions", tag: tagSession, access: bearer,
		summary: "The caller's living sessions"}, s.getSessions)
	register(s, call{method: remove, path: "/v1/me/sessions/{id}", id: "end-session", tag: tagSession, access: bearer,
		summary: "End one of the caller's sessions"}, s.deleteSession)
}

func (s *Server) getMe(ctx context.Context, c auth.Caller, _ *empty) (*answer[me], error) {
	user, err := s.auth.Me(ctx, c)
	if err != nil {
		return nil, err
	}
	body := me{User: user, Method: c.Method, Mode: c.Mode, SessionID: c.SessionID, KeyID: c.KeyID, AMR: c.AMR}
	if !c.AuthTime.IsZero() {
		body.AuthTime = &c.AuthTime
	}
	return &answer[me]{Body: body}, nil
}

func (s *Server) postLogout(ctx context.Context, c auth.Caller, in *WaitQuery) (*ReceiptHeader, error) {
	_, header, err := s.narrow(ctx, *in, func() (auth.Change, error) { return s.auth.Logout(ctx, c) })
	return &header, err
}

func (s *Server) postLogoutAll(ctx context.Context, c auth.Caller, in *WaitQuery) (*ReceiptHeader, error) {
	_, header, err := s.narrow(ctx, *in, func() (auth.Change, error) { return s.auth.LogoutAll(ctx, c) })
	return &header, err
}

func (s *Server) getSessions(ctx context.Context, c auth.Caller, in *PageQuery) (*answer[auth.Page[auth.Session]], error) {
	return pageOf(s.auth.Sessions(ctx, c, in.request()))
}

func (s *Server) deleteSession(ctx context.Context, c auth.Caller, in *ObjectChange) (*ReceiptHeader, error) {
	_, header, err := s.narrow(ctx, in.WaitQuery, func() (auth.Change, error) { return s.auth.EndSession(ctx, c, in.ID) })
	return &header, err
}
