package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// anID is a well-formed id of nothing.
const anID = "0190a5c0-0000-7000-8000-000000000001"

// operation is one call of the document, with what a valid request of it looks like.
type operation struct {
	*huma.Operation
	s *Server
}

// operations returns every call of /v1 in a fixed order.
func operations(s *Server) []operation {
	var all []operation
	document := s.api.OpenAPI()
	for _, path := range slices.Sorted(maps.Keys(document.Paths)) {
		item := document.Paths[path]
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil && strings.HasPrefix(path, "/v1/") {
				all = append(all, operation{op, s})
			}
		}
	}
	return all
}

func (o operation) String() string { return o.Method + " " + o.Path }

// url fills in the path.
func (o operation) url(object string) string {
	return strings.NewReplacer("{id}", object, "{name}", object).Replace(o.Path)
}

// valid is a path that the schema takes.
func (o operation) valid() string {
	if strings.Contains(o.Path, "{name}") {
		return o.url("cars")
	}
	return o.url(anID)
}

// schema returns the body's schema; nil: the call takes none.
func (o operation) schema() *huma.Schema {
	if o.RequestBody == nil {
		return nil
	}
	schema := o.RequestBody.Content["application/json"].Schema
	for schema.Ref != "" {
		schema = o.s.api.OpenAPI().Components.Schemas.SchemaFromRef(schema.Ref)
	}
	return schema
}

// body holds every property that is required, with a value of its type.
func (o operation) body() map[string]any {
	body := map[string]any{}
	for _, name := range o.schema().Required {
		body[name] = o.value(name)
	}
	return body
}

func (o operation) value(name string) any {
	property := o.schema().Properties[name]
	switch {
	case property.Type == huma.TypeBoolean:
		return true
	case property.Type == huma.TypeArray:
		return []string{"user"}
	case len(property.Enum) > 0:
		return property.Enum[0]
	default:
		return "text"
	}
}

// wrong are values of every type but the property's own.
func (o operation) wrong(name string) []any {
	values := map[string]any{huma.TypeString: "text", huma.TypeBoolean: true, huma.TypeArray: []any{"x"}, huma.TypeObject: map[string]any{"x": 1}, huma.TypeNumber: 1.5}
	delete(values, o.schema().Properties[name].Type)
	return slices.Collect(maps.Values(values))
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	fatal(t, err)
	return string(text)
}

// attack is a request that must be refused.
type attack struct {
	name   string
	path   string
	body   string
	header http.Header
	status int
	code   string
}

// attacks are the bad requests that every call must refuse, made from its schema.
func (o operation) attacks(t *testing.T) []attack {
	list := []attack{
		{name: "unknown parameter", path: o.valid() + "?colour=red", status: 400, code: "invalid_request"},
		{name: "broken query", path: o.valid() + "?a=%zz", status: 400, code: "invalid_request"},
	}
	for _, p := range o.Parameters {
		if p.In == "query" {
			list = append(list, attack{name: p.Name + " repeated", path: o.valid() + "?" + p.Name + "=1&" + p.Name + "=1", status: 400, code: "invalid_request"},
				attack{name: p.Name + " with NUL", path: o.valid() + "?" + p.Name + "=%00", status: 400, code: "invalid_request"})
		}
	}
	if o.Path != o.valid() {
		for _, object := range []string{"x", strings.ToUpper("0190a5c0-0000-7000-8000-00000000000f"), anID + "0", "*", "%3E", "a%0d%0ab", "..", "%2e%2e", "a%2fb", "a.b", strings.Repeat("a", 33), "%00"} {
			if object == "x" && strings.Contains(o.Path, "{name}") {
				continue
			}
			list = append(list, attack{name: "object " + object, path: o.url(object), body: o.plainBody(t), status: 400, code: "invalid_request"})
		}
	}
	large := fmt.Sprintf(`{"x":"%s"}`, strings.Repeat("x", maxBody))
	list = append(list, attack{name: "too large", path: o.valid(), body: large, status: 413, code: "too_large"},
		attack{name: "text body", path: o.valid(), body: "x", header: with("Content-Type", "text/plain"), status: 415, code: "unsupported_media_type"})
	if o.schema() == nil {
		return append(list, attack{name: "a body where none is wanted", path: o.valid(), body: `{"x":1}`, status: 400, code: "invalid_request"})
	}
	return append(list, o.bodyAttacks(t)...)
}

func (o operation) plainBody(t *testing.T) string {
	if o.schema() == nil {
		return ""
	}
	return encode(t, o.body())
}

func (o operation) bodyAttacks(t *testing.T) []attack {
	var list []attack
	add := func(name, body string) {
		list = append(list, attack{name: name, path: o.valid(), body: body, status: 400, code: "invalid_request"})
	}
	with := func(name string, value any) string {
		body := o.body()
		body[name] = value
		return encode(t, body)
	}
	add("unknown field", with("colour", "red"))
	add("trailing data", o.plainBody(t)+"{}")
	add("an array", "[]")
	add("a number", "1")
	add("broken", `{"`)
	for name := range o.schema().Properties {
		for _, value := range o.wrong(name) {
			add(fmt.Sprintf("%s as %T", name, value), with(name, value))
		}
		add(name+" in other case", with(strings.ToUpper(name), o.value(name)))
		twice := with(name, o.value(name))
		add(name+" twice", twice[:len(twice)-1]+fmt.Sprintf(`,"%s":%s}`, name, encode(t, o.value(name))))
		if o.schema().Properties[name].Type == huma.TypeString {
			add(name+" with NUL", with(name, "a\x00b"))
		}
	}
	for _, name := range o.schema().Required {
		body := o.body()
		delete(body, name)
		add("without "+name, encode(t, body))
		add(name+" null", with(name, nil))
	}
	return list
}

// rows counts what a refused call must not add to.
func rows(t *testing.T, s *system) string {
	t.Helper()
	var counts []string
	err := s.db.View(t.Context(), func(tx *store.Tx) error {
		ctx := context.WithoutCancel(t.Context())
		users, err := tx.Users(ctx, "", "", 200)
		if err != nil {
			return err
		}
		audit, err := tx.Audit(ctx, "", 200)
		if err != nil {
			return err
		}
		events, err := tx.LiveRevocations(ctx, "", 200)
		if err != nil {
			return err
		}
		services, err := tx.Services(ctx)
		counts = []string{encode(t, users), fmt.Sprint(len(audit), len(events), len(services))}
		return err
	})
	fatal(t, err)
	return strings.Join(counts, " ")
}

func TestEveryCallRefusesBadInputAndChangesNothing(t *testing.T) {
	s := newSystem(t)
	before := rows(t, s)
	calls := 0
	for _, op := range operations(s.Server) {
		for _, a := range op.attacks(t) {
			calls++
			header := a.header
			if header == nil {
				header = http.Header{}
				if a.body != "" {
					header.Set("Content-Type", "application/json")
				}
			}
			header.Set("Authorization", s.admin)
			w := request{method: op.Method, path: a.path, body: a.body, header: header}.send(s)
			if p := problem(t, w); w.Code != a.status || p.Code != a.code {
				t.Errorf("%s: %s: %d %s, want %d %s", op, a.name, w.Code, w.Body, a.status, a.code)
			}
		}
	}
	if after := rows(t, s); after != before {
		t.Errorf("refused calls changed something:\n%s\n%s", before, after)
	}
	t.Logf("%d bad requests", calls)
}

func TestEveryCallRefusesWrongCredentialsFirst(t *testing.T) {
	s := newSystem(t)
	alice := s.person("alice")
	parts := strings.Split(alice.AccessToken, ".")
	for _, op := range operations(s.Server) {
		if len(op.Security) == 0 {
			continue
		}
		for name, test := range map[string]struct {
			values []string
			status int
		}{
			"none":            {nil, 401},
			"empty":           {[]string{""}, 400},
			"repeated":        {[]string{s.admin, s.admin}, 400},
			"two methods":     {[]string{s.admin + ", Basic eDp5"}, 400},
			"unknown scheme":  {[]string{"Negotiate " + alice.AccessToken}, 401},
			"not a token":     {[]string{"Bearer x"}, 401},
			"no signature":    {[]string{"Bearer " + parts[0] + "." + parts[1] + "."}, 401},
			"other signature": {[]string{"Bearer " + parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2]))}, 401},
			"alg none":        {[]string{"Bearer eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + parts[1] + "."}, 401},
			"a refresh token": {[]string{"Bearer " + alice.RefreshToken}, 401},
			"a key as token":  {[]string{"Bearer " + alice.APIKeys[0].Key}, 401},
			"a token as key":  {[]string{"Api-Key " + alice.AccessToken}, 401},
			"a truncated key": {[]string{"Api-Key " + alice.APIKeys[0].Key[:40]}, 401},
		} {
			w := request{method: op.Method, path: op.valid() + "?colour=red", header: http.Header{"Authorization": test.values}}.send(s)
			want := map[int]string{400: "invalid_request", 401: "unauthenticated"}[test.status]
			if p := problem(t, w); w.Code != test.status || p.Code != want || len(w.Header().Values("WWW-Authenticate")) != len(op.Security) {
				t.Errorf("%s: %s: %d %s %v", op, name, w.Code, w.Body, w.Header().Values("WWW-Authenticate"))
			}
		}
	}
}

func TestNamesThatCouldBecomeMoreThanNamesAreRefused(t *testing.T) {
	s := newSystem(t)
	alice := s.person("alice")
	bad := []string{"*", ">", "a.b", "a b", "a\r\nb", "a\nb", "é", "$SYS", "", strings.Repeat("a", 65), "../x", "A>"}
	for _, name := range bad {
		for _, call := range []struct {
			method, path, authorization, field string
			body                               map[string]any
		}{
			{"POST", "/v1/admin/services", s.admin, "name", map[string]any{"name": name}},
			{"PUT", "/v1/admin/users/" + alice.User.ID + "/plan", s.admin, "plan", map[string]any{"plan": name}},
			{"PUT", "/v1/admin/users/" + alice.User.ID + "/roles", s.admin, "roles[0]", map[string]any{"roles": []string{name}}},
			{"POST", "/v1/admin/revocations", s.admin, "role", map[string]any{"role": name}},
		} {
			w := s.do(call.method, call.path, call.authorization, call.body)
			if p := problem(t, w); w.Code != 400 || p.Code != "invalid_request" || len(p.Errors) == 0 || !strings.HasPrefix(call.field, p.Errors[0].Field) {
				t.Errorf("%s %q: %d %s", call.path, name, w.Code, w.Body)
			}
		}
		if name == "a.b" || name == "A>" {
			continue
		}
		if w := s.do("POST", "/v1/register", "", map[string]any{"username": name, "password": userPassword}); w.Code != 400 || code(t, w) != "invalid_request" {
			t.Errorf("username %q: %d %s", name, w.Code, w.Body)
		}
	}
}

// Taken for a member that isn't there, null would have meant the default: a day's overlap, or no change at all.
func TestNullIsNoDefault(t *testing.T) {
	s := newSystem(t)
	alice := s.person("alice")
	var made createdKey
	s.must(201, "POST", "/v1/me/api-keys", alice.bearer(), map[string]any{"name": "ci", "mode": "live"}, &made)
	path := "/v1/me/api-keys/" + made.APIKey.ID
	for _, c := range []struct{ method, path, caller, field, body string }{
		{"POST", path + "/rotate", alice.bearer(), "overlap", `{"overlap":null}`},
		{"POST", path + "/rotate", alice.bearer(), "overlap", `{"overlap":""}`},
		{"PATCH", path, alice.bearer(), "disabled", `{"disabled":null}`},
		{"PATCH", path, alice.bearer(), "expires_at", `{"expires_at":null}`},
		{"POST", "/v1/me/api-keys", alice.bearer(), "scopes", `{"name":"x","mode":"live","scopes":null}`},
		{"POST", "/v1/admin/revocations", s.admin, "keys", `{"all":true,"keys":null}`},
	} {
		w := s.do(c.method, c.path, c.caller, json.RawMessage(c.body))
		if p := problem(t, w); w.Code != 400 || len(p.Errors) != 1 || p.Errors[0].Field != c.field {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, w.Code, w.Body)
		}
	}
	s.must(200, "GET", "/v1/me", "Api-Key "+made.APIKey.Key, nil, nil)
}
