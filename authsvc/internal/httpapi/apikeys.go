package httpapi

import (
	"context"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const tagKeys = "API keys"

type createKeyInput struct {
	Body struct {
		Name      string     `json:"name"`
		Mode      string     `json:"mode" enum:"live,test"`
		ExpiresAt *time.Time `json:"expires_at,omitempty"`
		Scopes    []string   `json:"scopes,omitempty" maxItems:"32" doc:"Narrow the user's roles for this key"`
	}
}

type createdKey struct {
	APIKey auth.IssuedKey `json:"api_key" doc:"The secret is shown this once"`
}

type updateKeyInput struct {
	ObjectChange
	Body struct {
		Name      *string    `json:"name,omitempty"`
		Disabled  *bool      `json:"disabled,omitempty" doc:"Suspends at once, and can be undone; what an admin suspended only by an admin, else 403 forbidden"`
		ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"Ends the key then, which must not be later than it ends now; a time that has passed ends it at once. Ends the overlap of a rotation early"`
	}
}

// updateAnyKeyInput has no name: that is its owner's.
type updateAnyKeyInput struct {
	ObjectChange
	Body struct {
		Disabled  *bool      `json:"disabled,omitempty" doc:"Suspends at once, and can be undone by admins alone. Of a key that its owner suspended, true takes that over, and false resumes it"`
		ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"Ends the key then, which must not be later than it ends now; a time that has passed ends it at once. Ends the overlap of a rotation early"`
	}
}

type rotateKeyInput struct {
	ObjectChange
	Body *struct {
		Overlap string `json:"overlap,omitempty" minLength:"1" maxLength:"32" doc:"How long the old key lives on, such as 24h, the default; 0s: not at all"`
	}
}

type rotatedKey struct {
	APIKey   auth.IssuedKey   `json:"api_key" doc:"The secret is shown this once"`
	Previous auth.PreviousKey `json:"previous"`
}

// receiptAnswer is a body with a receipt in the header.
type receiptAnswer[T any] struct {
	ReceiptHeader
	Body T
}

func (s *Server) registerAPIKeys() {
	register(s, call{method: get, path: "/v1/me/api-keys", id: "list-api-keys", tag: tagKeys, access: bearer,
		summary: "The caller's keys, without secrets"}, s.getKeys)
	register(s, call{method: post, path: "/v1/me/api-keys", id: "create-api-key", tag: tagKeys, access: bearer, status: 201,
		summary: "Issue a key; 409 conflict for a user who has 100, besides dead ones"}, s.postKey)
	register(s, call{method: patch, path: "/v1/me/api-keys/{id}", id: "update-api-key", tag: tagKeys, access: bearer,
		summary: "Rename, suspend, resume or shorten a key"}, s.patchKey)
	register(s, call{method: post, path: "/v1/me/api-keys/{id}/rotate", id: "rotate-api-key", tag: tagKeys, access: bearer,
		summary: "Issue a key's successor"}, s.rotateKey)
	register(s, call{method: remove, path: "/v1/me/api-keys/{id}", id: "delete-api-key", tag: tagKeys, access: bearer,
		summary: "End a key for good"}, s.deleteKey)
	register(s, call{method: patch, path: "/v1/admin/api-keys/{id}", id: "update-any-api-key", tag: tagKeys, access: admin,
		summary: "Suspend, resume or shorten anybody's key"}, s.patchAnyKey)
	register(s, call{method: remove, path: "/v1/admin/api-keys/{id}", id: "delete-any-api-key", tag: tagKeys, access: admin,
		summary: "End anybody's key for good"}, s.deleteAnyKey)
}

func (s *Server) getKeys(ctx context.Context, c auth.Caller, in *PageQuery) (*answer[auth.Page[auth.APIKey]], error) {
	return pageOf(s.auth.APIKeys(ctx, c, in.request()))
}

func (s *Server) postKey(ctx context.Context, c auth.Caller, in *createKeyInput) (*answer[createdKey], error) {
	b := in.Body
	key, err := s.auth.CreateAPIKey(ctx, c, auth.NewAPIKey{Name: b.Name, Mode: events.Mode(b.Mode), ExpiresAt: b.ExpiresAt, Scopes: b.Scopes})
	return &answer[createdKey]{Body: createdKey{APIKey: key}}, err
}

func (s *Server) patchKey(ctx context.Context, c auth.Caller, in *updateKeyInput) (*receiptAnswer[auth.APIKey], error) {
	p := auth.APIKeyPatch{Name: in.Body.Name, Disabled: in.Body.Disabled, ExpiresAt: in.Body.ExpiresAt}
	return s.changeKey(ctx, in.WaitQuery, func() (auth.APIKey, auth.Change, error) { return s.auth.UpdateAPIKey(ctx, c, in.ID, p) })
}

func (s *Server) patchAnyKey(ctx context.Context, c auth.Caller, in *updateAnyKeyInput) (*receiptAnswer[auth.APIKey], error) {
	p := auth.APIKeyPatch{Disabled: in.Body.Disabled, ExpiresAt: in.Body.ExpiresAt}
	return s.changeKey(ctx, in.WaitQuery, func() (auth.APIKey, auth.Change, error) { return s.auth.UpdateAnyAPIKey(ctx, c, in.ID, p) })
}

func (s *Server) changeKey(ctx context.Context, q WaitQuery, do func() (auth.APIKey, auth.Change, error)) (*receiptAnswer[auth.APIKey], error) {
	var out receiptAnswer[auth.APIKey]
	var err error
	_, out.ReceiptHeader, err = s.narrow(ctx, q, func() (change auth.Change, err error) {
		out.Body, change, err = do()
		return change, err
	})
	return &out, err
}

func (s *Server) rotateKey(ctx context.Context, c auth.Caller, in *rotateKeyInput) (*receiptAnswer[rotatedKey], error) {
	overlap := auth.DefaultOverlap
	if in.Body != nil && in.Body.Overlap != "" {
		var err error
		if overlap, err = time.ParseDuration(in.Body.Overlap); err != nil {
			return nil, invalidField("overlap", "must be a duration such as 24h")
		}
	}
	var out receiptAnswer[rotatedKey]
	var err error
	_, out.ReceiptHeader, err = s.narrow(ctx, in.WaitQuery, func() (auth.Change, error) {
		rotation, change, err := s.auth.RotateAPIKey(ctx, c, in.ID, overlap)
		out.Body = rotatedKey{APIKey: rotation.Key, Previous: rotation.Previous}
		return change, err
	})
	return &out, err
}

func (s *Server) deleteKey(ctx context.Context, c auth.Caller, in *ObjectChange) (*ReceiptHeader, error) {
	_, header, err := s.narrow(ctx, in.WaitQuery, func() (auth.Change, error) { return s.auth.DeleteAPIKey(ctx, c, in.ID) })
	return &header, err
}

func (s *Server) deleteAnyKey(ctx context.Context, c auth.Caller, in *ObjectChange) (*ReceiptHeader, error) {
	_, header, err := s.narrow(ctx, in.WaitQuery, func() (auth.Change, error) { return s.auth.DeleteAnyAPIKey(ctx, c, in.ID) })
	return &header, err
}
