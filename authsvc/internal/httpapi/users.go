package httpapi

import (
	"context"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

const tagUsers = "Users"

type usersQuery struct {
	PageQuery
	Query string `query:"query" maxLength:"256" doc:"Part of the username or email, or a whole id"`
}

type rolesInput struct {
	ObjectChange
	Body struct {
		Roles []string `json:"roles" maxItems:"32"`
	}
}

type planInput struct {
	ObjectChange
	Body struct {
		Plan string `json:"plan"`
	}
}

type statusInput struct {
	ObjectChange
	Body struct {
		Disabled bool `json:"disabled" doc:"true ends the sessions for good and suspends the keys until enabled again"`
	}
}

func (s *Server) registerUsers() {
	register(s, call{method: get, path: "/v1/admin/users", id: "list-users", tag: tagUsers, access: admin,
		summary: "All users"}, s.getUsers)
	register(s, call{method: get, path: "/v1/admin/users/{id}", id: "get-user", tag: tagUsers, access: admin,
		summary: "One user"}, s.getUser)
	register(s, call{method: remove, path: "/v1/admin/users/{id}", id: "delete-user", tag: tagUsers, access: admin,
		summary: "Delete a user with all sessions and keys"}, s.deleteUser)
	register(s, call{method: put, path: "/v1/admin/users/{id}/roles", id: "set-roles", tag: tagUsers, access: admin,
		summary: "Replace a user's roles"}, s.putRoles)
	register(s, call{method: put, path: "/v1/admin/users/{id}/plan", id: "set-plan", tag: tagUsers, access: admin,
		summary: "Change a user's plan"}, s.putPlan)
	register(s, call{method: put, path: "/v1/admin/users/{id}/status", id: "set-status", tag: tagUsers, access: admin,
		summary: "Disable or enable a user"}, s.putStatus)
}

func (s *Server) getUsers(ctx context.Context, c auth.Caller, in *usersQuery) (*answer[auth.Page[auth.User]], error) {
	return pageOf(s.auth.Users(ctx, c, auth.UserQuery{PageRequest: in.request(), Text: in.Query}))
}

func (s *Server) getUser(ctx context.Context, c auth.Caller, in *IDPath) (*answer[auth.User], error) {
	user, err := s.auth.User(ctx, c, in.ID)
	return &answer[auth.User]{Body: user}, err
}

func (s *Server) deleteUser(ctx context.Context, c auth.Caller, in *ObjectChange) (*ReceiptHeader, error) {
	_, header, err := s.narrow(ctx, in.WaitQuery, func() (auth.Change, error) { return s.auth.DeleteUser(ctx, c, in.ID) })
	return &header, err
}

func (s *Server) putRoles(ctx context.Context, c auth.Caller, in *rolesInput) (*receiptAnswer[auth.User], error) {
	return s.changeUser(ctx, in.WaitQuery, func() (auth.User, auth.Change, error) { return s.auth.SetRoles(ctx, c, in.ID, in.Body.Roles) })
}

func (s *Server) putPlan(ctx context.Context, c auth.Caller, in *planInput) (*receiptAnswer[auth.User], error) {
	return s.changeUser(ctx, in.WaitQuery, func() (auth.User, auth.Change, error) { return s.auth.SetPlan(ctx, c, in.ID, in.Body.Plan) })
}

func (s *Server) putStatus(ctx context.Context, c auth.Caller, in *statusInput) (*receiptAnswer[auth.User], error) {
	return s.changeUser(ctx, in.WaitQuery, func() (auth.User, auth.Change, error) { return s.auth.SetStatus(ctx, c, in.ID, in.Body.Disabled) })
}

func (s *Server) changeUser(ctx context.Context, q WaitQuery, do func() (auth.User, auth.Change, error)) (*receiptAnswer[auth.User], error) {
	var out receiptAnswer[auth.User]
	var err error
	_, out.ReceiptHeader, err = s.narrow(ctx, q, func() (change auth.Change, err error) {
		out.Body, change, err = do()
		return change, err
	})
	return &out, err
}
