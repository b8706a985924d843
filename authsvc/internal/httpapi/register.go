package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

// call describes one operation of /v1.
type call struct {
	method, path string
	id           string // operation id, which names generated client methods
	summary      string
	tag          string
	access       access
	status       int  // of success; 0: 200 with a body, 204 without
	foreign      bool // the body's form is others': members that aren't known may be anything
}

// register adds an operation to the router and to the OpenAPI document. The handler's error goes through problemFor.
func register[In, Out any](s *Server, c call, handle func(context.Context, auth.Caller, *In) (*Out, error)) {
	op := huma.Operation{
		Method: c.method, Path: c.path, OperationID: c.id, Summary: c.summary, Tags: []string{c.tag}, DefaultStatus: c.status,
		Security: c.access.security(), Description: c.access.description(),
		MaxBodyBytes: maxBody + 1, BodyReadTimeout: -1, // strict has read and bounded the body already
		Middlewares: huma.Middlewares{s.authenticate(c.access), s.strict(c.foreign)},
	}
	huma.Register(s.api, op, func(ctx context.Context, in *In) (*Out, error) {
		out, err := handle(ctx, callerFrom(ctx), in)
		if err != nil {
			return nil, s.problemFor(ctx, err)
		}
		return out, nil
	})
}

// public is register for calls that need no credential.
func public[In, Out any](s *Server, c call, handle func(context.Context, *In) (*Out, error)) {
	c.access = open
	register(s, c, func(ctx context.Context, _ auth.Caller, in *In) (*Out, error) { return handle(ctx, in) })
}

// empty is the input of calls without parameters.
type empty struct{}

// answer is an output that is only a body.
type answer[T any] struct {
	Body T
}

// The names of the security schemes in the document.
const (
	documentBearer = "bearer"
	documentAPIKey = "apiKey"
	documentBasic  = "basic"
)

func (a access) security() []map[string][]string {
	var out []map[string][]string
	if a.bearer {
		out = append(out, map[string][]string{documentBearer: {}})
	}
	if a.apiKey {
		out = append(out, map[string][]string{documentAPIKey: {}})
	}
	return out
}

func (a access) description() string {
	if a.role == "" {
		return ""
	}
	return "Needs the role " + a.role + "."
}

func securitySchemes() map[string]*huma.SecurityScheme {
	return map[string]*huma.SecurityScheme{
		documentBearer: {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "Access token of a login"},
		documentAPIKey: {Type: "apiKey", In: "header", Name: "Authorization", Description: "Api-Key and the key: Authorization: Api-Key tcs_live_…"},
		documentBasic:  {Type: "http", Scheme: "basic", Description: "Key id and key"},
	}
}

// The methods, short enough for tables of calls.
const (
	get    = http.MethodGet
	post   = http.MethodPost
	put    = http.MethodPut
	patch  = http.MethodPatch
	remove = http.MethodDelete
)

// PageQuery are the parameters of every list.
type PageQuery struct {
	Cursor string `query:"cursor" maxLength:"512" doc:"next_cursor of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (q PageQuery) request() auth.PageRequest {
	return auth.PageRequest{Cursor: q.Cursor, Limit: q.Limit}
}

// pageOf makes a list's answer; an empty list is [], never null.
func pageOf[T any](p auth.Page[T], err error) (*answer[auth.Page[T]], error) {
	if err != nil {
		return nil, err
	}
	if p.Items == nil {
		p.Items = []T{}
	}
	return &answer[auth.Page[T]]{Body: p}, nil
}

// IDPath is the parameter of calls about one object. One id has one spelling.
type IDPath struct {
	ID string `path:"id" pattern:"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$" patternDescription:"UUID in lower case"`
}
