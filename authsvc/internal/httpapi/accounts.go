package httpapi

import (
	"context"
	"errors"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const tagAccount = "Account"

type registerInput struct {
	Body struct {
		Username string `json:"username" doc:"[a-z0-9][a-z0-9._@-]{2,63} after lower-casing"`
		Password string `json:"password" format:"password"`
		Email    string `json:"email,omitempty"`
	}
}

type registration struct {
	User    auth.User        `json:"user"`
	APIKeys []auth.IssuedKey `json:"api_keys" doc:"A live and a test key. The secrets are shown this once."`
}

type loginInput struct {
	Body struct {
		Username string `json:"username"`
		Password string `json:"password" format:"password"`
		Mode     string `json:"mode,omitempty" enum:"live,test" doc:"test issues a test token; default live"`
	}
}

type refreshInput struct {
	Body struct {
		RefreshToken string `json:"refresh_token"`
	}
}

type passwordInput struct {
	WaitQuery
	Body struct {
		Current string `json:"current" format:"password"`
		New     string `json:"new" format:"password"`
	}
}

func (s *Server) registerAccounts() {
	public(s, call{method: post, path: "/v1/register", id: "register", tag: tagAccount, status: 201,
		summary: "Create a user with a live and a test API key"}, s.postRegister)
	public(s, call{method: post, path: "/v1/login", id: "login", tag: tagAccount,
		summary: "Open a session; of more than 200, the one that was unused for the longest ends"}, s.postLogin)
	public(s, call{method: post, path: "/v1/token/refresh", id: "refresh", tag: tagAccount,
		summary: "Exchange a refresh token for its successor and a new access token"}, s.postRefresh)
	register(s, call{method: post, path: "/v1/me/password", id: "change-password", tag: tagAccount, access: bearer,
		summary: "Change the password; every other session dies"}, s.postPassword)
	register(s, call{method: get, path: "/v1/users/{id}", id: "get-directory-entry", tag: "Directory", access: directory,
		summary: "What services may know of a user beyond the token"}, s.getDirectory)
}

func (s *Server) postRegister(ctx context.Context, in *registerInput) (*answer[registration], error) {
	if err := s.bound(ctx, s.limits.registrations); err != nil {
		return nil, err
	}
	b := in.Body
	made, err := s.auth.Register(ctx, auth.Registration{Username: b.Username, Password: b.Password, Email: b.Email}, clientFrom(ctx))
	if errors.Is(err, auth.ErrInvalidRequest) || errors.Is(err, auth.ErrWeakPassword) { // neither cost a hash nor told anything
		s.limits.registrations.giveBack(clientFrom(ctx).IP)
	}
	if err != nil {
		return nil, err
	}
	return &answer[registration]{Body: registration{User: made.User, APIKeys: made.Keys}}, nil
}

func (s *Server) postLogin(ctx context.Context, in *loginInput) (*answer[auth.Tokens], error) {
	b := in.Body
	var tokens auth.Tokens
	err := s.guess(ctx, b.Username, func() (err error) {
		tokens, err = s.auth.Login(ctx, auth.Login{Username: b.Username, Password: b.Password, Mode: events.Mode(b.Mode)}, clientFrom(ctx))
		return err
	})
	if err != nil {
		return nil, err
	}
	return &answer[auth.Tokens]{Body: tokens}, nil
}

func (s *Server) postRefresh(ctx context.Context, in *refreshInput) (*answer[auth.Tokens], error) {
	tokens, err := s.auth.Refresh(ctx, in.Body.RefreshToken, clientFrom(ctx))
	if err != nil {
		return nil, s.afterFailure(ctx, err)
	}
	return &answer[auth.Tokens]{Body: tokens}, nil
}

func (s *Server) postPassword(ctx context.Context, c auth.Caller, in *passwordInput) (*ReceiptHeader, error) {
	var header ReceiptHeader
	// Of the session: whoever stole one can't keep the owner, in another, from changing the password.
	err := s.tryAccount(ctx, c.SessionID, nil, func() (err error) {
		_, header, err = s.narrow(ctx, in.WaitQuery, func() (auth.Change, error) {
			return s.auth.ChangePassword(ctx, c, in.Body.Current, in.Body.New)
		})
		return err
	})
	return &header, err
}

func (s *Server) getDirectory(ctx context.Context, c auth.Caller, in *IDPath) (*answer[auth.DirectoryEntry], error) {
	entry, err := s.auth.Directory(ctx, c, in.ID)
	return &answer[auth.DirectoryEntry]{Body: entry}, err
}
