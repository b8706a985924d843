package httpapi

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

const tagOAuth = "OAuth 2.0"

// parameter describes a form field for the document.
type parameter struct {
	name, doc string
	required  bool
}

func (s *Server) mountOAuth() {
	token := parameter{"token", "", true}
	hint := parameter{"token_type_hint", "Ignored: every kind is looked for", false}
	s.mountForm("/oauth2/introspect", "introspect", "RFC 7662: the caller's own tokens and keys, or all with the role introspect", reflect.TypeFor[auth.Introspection](),
		s.oauth(s.introspect), token, hint)
	revoke := s.mountForm("/oauth2/revoke", "revoke-token", "RFC 7009; unknown tokens are no error", nil, s.oauth(s.revokeToken, "wait", "timeout"), token, hint)
	s.documentWait(revoke)
	s.mountToken()
}

// mountToken describes the parameters of all grants of the token endpoint in one form, and the answers of all.
func (s *Server) mountToken() {
	op := s.mountForm("/oauth2/token", "token", "RFC 6749: grants refresh_token and client_credentials; RFC 8693: token exchange", nil, s.oauth(s.token),
		parameter{"grant_type", strings.Join(grants, ", "), true}, parameter{"refresh_token", "Of grant refresh_token, which wants no authentication", false},
		parameter{"client_id", "If given: " + clientLogins + " with grant refresh_token, else the id of the key", false},
		parameter{"scope", "Roles, fewer than could be had, with a space between two", false},
		parameter{"audience", "If given, the one audience of all tokens", false}, parameter{"resource", "The same", false},
		parameter{"subject_token", "On whose behalf: an access token of a login, a job grant, a user's id (with the role " + auth.RoleDelegate + "), or, for a job grant, an API key", false},
		parameter{"subject_token_type", strings.Join([]string{string(auth.TypeAccessToken), string(auth.TypeJobGrant), string(auth.TypeUserID), string(auth.TypeAPIKey)}, ", "), false},
		parameter{"requested_token_type", string(auth.TypeAccessToken) + ", the default, or " + string(auth.TypeJobGrant), false},
		parameter{"job_id", "The job that a job grant is for, when it is issued and when it is used", false})
	op.Security = []map[string][]string{{}, {documentBasic: {}}, {documentAPIKey: {}}}
	schemas := s.api.OpenAPI().Components.Schemas
	answer := &huma.Schema{OneOf: []*huma.Schema{}}
	for _, of := range []reflect.Type{reflect.TypeFor[auth.Tokens](), reflect.TypeFor[auth.DerivedToken]()} {
		answer.OneOf = append(answer.OneOf, schemas.Schema(of, true, of.Name()))
	}
	op.Responses["200"].Content = map[string]*huma.MediaType{"application/json": {Schema: answer}}
}

// documentWait gives a call the parameters and the header that calls of /v1 that narrow trust have.
func (s *Server) documentWait(op *huma.Operation) {
	like := s.api.OpenAPI().Paths["/v1/logout"].Post
	s.waitParameters = like.Parameters
	op.Parameters = s.waitParameters
	op.Responses["200"].Headers = like.Responses["204"].Headers
}

// mountForm routes a call of /oauth2 and describes it.
func (s *Server) mountForm(path, id, summary string, out reflect.Type, handler http.HandlerFunc, fields ...parameter) *huma.Operation {
	s.router.Post(path, handler)
	schema := &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{}}
	for _, f := range fields {
		schema.Properties[f.name] = &huma.Schema{Type: huma.TypeString, Description: f.doc}
		if f.required {
			schema.Required = append(schema.Required, f.name)
		}
	}
	op := &huma.Operation{Method: post, Path: path, OperationID: id, Summary: summary, Tags: []string{tagOAuth},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/x-www-form-urlencoded": {Schema: schema}}},
		Responses:   map[string]*huma.Response{"200": s.described(out), "default": s.described(reflect.TypeFor[oauthError]())}}
	if id != "token" {
		op.Security = []map[string][]string{{documentBasic: {}}, {documentAPIKey: {}}}
	}
	s.api.OpenAPI().AddOperation(op)
	return op
}

// mountGet routes a call without parameters and describes it. Out nil: not JSON.
func (s *Server) mountGet(path, id, summary, tag string, out reflect.Type, handler http.HandlerFunc) {
	s.router.Get(path, handler)
	s.describe(path, id, summary, tag, out)
}

// describe adds a call without parameters to the document.
func (s *Server) describe(path, id, summary, tag string, out reflect.Type) {
	s.api.OpenAPI().AddOperation(&huma.Operation{Method: get, Path: path, OperationID: id, Summary: summary, Tags: []string{tag},
		Responses: map[string]*huma.Response{"200": s.described(out)}})
}

func (s *Server) described(out reflect.Type) *huma.Response {
	r := &huma.Response{Description: "OK"}
	if out == nil {
		return r
	}
	if out == reflect.TypeFor[oauthError]() {
		r.Description = "Error"
	}
	r.Content = map[string]*huma.MediaType{"application/json": {Schema: s.api.OpenAPI().Components.Schemas.Schema(out, true, out.Name())}}
	return r
}
