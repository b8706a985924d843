package routes

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// route is a file of one route with some lines more.
func route(lines ...string) string {
	return "routes:\n- name: cars\n  backend: cars\n  paths: [/v1/cars]\n  " + strings.Join(lines, "\n  ") + "\n"
}

var good = map[string]string{
	"short":       route(),
	"everything":  "unmatched: not_found\n" + route("hosts: [a.example, '*.b.example']", "methods: [GET, M-SEARCH]", "kind: ordinary", "roles: [user]", "any_role: [[a, b], [c]]", "max_staleness: 1m30s", "on_stale: serve-stale", "serve_stale_max: 1.5h"),
	"elite":       route("kind: elite", "roles: [admin]"),
	"public":      route("kind: public"),
	"quota":       route("quota: ai-jobs"),
	"quota, mode": route("kind: elite", "quota: ai-jobs", "quota_mode: exact"),
	"ask":         route("on_stale: ask"),
	"patterns":    "routes: [{name: a, backend: b.c-d_e, paths: [/, /a/*, /a/b.c/**, \"/x:y/(z)\", /*/c]}]",
	"catch-all":   "routes: [{name: a, backend: b, paths: [/a]}, {name: b, backend: b, paths: [/**]}]",
	"by method":   "routes: [{name: a, backend: b, paths: [/a], methods: [GET]}, {name: b, backend: b, paths: [/a]}]",
	"by host":     "routes: [{name: a, backend: b, paths: [/a], hosts: [x.example]}, {name: b, backend: b, paths: [/a], hosts: ['*.example']}]",
	"as JSON too": `{"routes": [{"name": "a", "backend": "b", "paths": ["/a"]}]}`,
}

// bad files, and what their error has to name. Those of bySchema are found by the schema as well.
var bad = map[string]struct {
	file, names string
	bySchema    bool
}{
	"empty":               {"", "not YAML", false},
	"not a mapping":       {"[]", "the file", true},
	"no routes":           {"unmatched: deny\n", "routes is missing", true},
	"empty routes":        {"routes: []\n", "routes (line 1)", true},
	"two documents":       {route() + "---\n" + route(), "one YAML document", false},
	"unknown field":       {route("max_stalness: 5s"), "routes[0].max_stalness (line 5): unknown field", true},
	"unknown at the top":  {"route: []\n" + route(), "route (line 1): unknown", true},
	"other case":          {route("Kind: elite"), "routes[0].Kind", true},
	"duplicate key":       {route("kind: elite", "kind: public"), "routes[0].kind (line 6): given twice", false},
	"duplicate name":      {route() + "- {name: cars, backend: b, paths: [/b]}\n", "routes[1] (line 6): name", false},
	"merge key":           {"routes:\n- &a {name: a, backend: b, paths: [/a]}\n", "routes[0]", false},
	"alias":               {"routes:\n- {name: a, backend: b, paths: [/a], roles: [&r user]}\n- {name: b, backend: b, paths: [/b], roles: [*r]}\n", "routes[0].roles[0]", false},
	"tag":                 {route("roles: [!!str user]"), "routes[0].roles[0]", false},
	"bad duration":        {route("max_staleness: 5"), "routes[0].max_staleness", true},
	"bad duration, text":  {route("max_staleness: 5 s"), "routes[0].max_staleness", true},
	"zero duration":       {route("max_staleness: 0s"), "routes[0].max_staleness", false},
	"negative duration":   {route("max_staleness: -5s"), "routes[0].max_staleness", true},
	"nanoseconds":         {route("max_staleness: 5000000000ns"), "routes[0].max_staleness", true},
	"bad kind":            {route("kind: Elite"), "routes[0].kind", true},
	"bad unmatched":       {"unmatched: allow\n" + route(), "unmatched", true},
	"bad role":            {route("roles: [User]"), "routes[0].roles[0]", true},
	"role as a number":    {route("roles: [7]"), "routes[0].roles[0]", true},
	"roles as a string":   {route("roles: user"), "routes[0].roles", true},
	"roles empty":         {route("roles: []"), "routes[0].roles", true},
	"role twice":          {route("roles: [a, a]"), "routes[0].roles[1]", true},
	"any_role flat":       {route("any_role: [a, b]"), "routes[0].any_role[0]", true},
	"bad method":          {route("methods: [get]"), "routes[0].methods[0]", true},
	"method CONNECT":      {route("methods: [CONNECT]"), "routes[0].methods[0]", true},
	"bad host":            {route("hosts: [A.example]"), "routes[0].hosts[0]", true},
	"host with port":      {route("hosts: ['a.example:80']"), "routes[0].hosts[0]", true},
	"star in a host":      {route("hosts: ['a.*.example']"), "routes[0].hosts[0]", true},
	"no slash":            {"routes: [{name: a, backend: b, paths: [a]}]", "routes[0].paths[0]", true},
	"slash at the end":    {"routes: [{name: a, backend: b, paths: [/a/]}]", "routes[0].paths[0]", true},
	"empty segment":       {"routes: [{name: a, backend: b, paths: [/a//b]}]", "routes[0].paths[0]", true},
	"dots":                {"routes: [{name: a, backend: b, paths: [/a/../b]}]", "routes[0].paths[0]", true},
	"one dot":             {"routes: [{name: a, backend: b, paths: [/a/.]}]", "routes[0].paths[0]", true},
	"encoded pattern":     {"routes: [{name: a, backend: b, paths: [/a%20b]}]", "routes[0].paths[0]", true},
	"star in a segment":   {"routes: [{name: a, backend: b, paths: [/a*]}]", "routes[0].paths[0]", true},
	"** in the middle":    {"routes: [{name: a, backend: b, paths: [/**/a]}]", "routes[0].paths[0]", true},
	"semicolon":           {"routes: [{name: a, backend: b, paths: [/a;b]}]", "routes[0].paths[0]", true},
	"query":               {"routes: [{name: a, backend: b, paths: ['/a?b']}]", "routes[0].paths[0]", true},
	"path twice":          {"routes: [{name: a, backend: b, paths: [/a, /a]}]", "routes[0].paths[1]", true},
	"no backend":          {"routes: [{name: a, paths: [/a]}]", "backend is missing", true},
	"bad backend":         {"routes: [{name: a, backend: 'b c', paths: [/a]}]", "routes[0].backend", true},
	"null":                {route("kind:"), "routes[0].kind", true},
	"public with roles":   {route("kind: public", "roles: [a]"), "routes[0]", true},
	"public with a quota": {route("kind: public", "quota: jobs"), "routes[0]", true},
	"bad quota":           {route("quota: AI jobs"), "routes[0].quota", true},
	"bad quota_mode":      {route("quota: jobs", "quota_mode: loose"), "routes[0].quota_mode", true},
	"quota_mode alone":    {route("quota_mode: exact"), "routes[0]", true},
	"elite with a bound":  {route("kind: elite", "max_staleness: 5s"), "routes[0]", true},
	"serve-stale alone":   {route("on_stale: serve-stale"), "routes[0]", true},
	"serve_stale_max":     {route("serve_stale_max: 5m"), "routes[0]", true},
	"serve_stale_max 25h": {route("on_stale: serve-stale", "serve_stale_max: 25h"), "routes[0]", false},
	"never reached":       {"routes: [{name: a, backend: b, paths: [/a/**]}, {name: b, backend: b, paths: [/b, /a/c]}]", "routes[1] (line 1): paths[1] (/a/c) is never reached: routes[0] (a)", false},
	"never reached, HEAD": {"routes: [{name: a, backend: b, paths: [/a], methods: [GET]}, {name: b, backend: b, paths: [/a], methods: [HEAD]}]", "never reached", false},
	"never reached, host": {"routes: [{name: a, backend: b, paths: [/a], hosts: ['*.example']}, {name: b, backend: b, paths: [/a], hosts: [x.example], methods: [GET]}]", "never reached", false},
}

func TestAGoodFileIsTaken(t *testing.T) {
	for name, file := range good {
		if _, err := Load([]byte(file)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestABadFileIsRefusedInOneLineThatNamesTheField(t *testing.T) {
	for name, c := range bad {
		_, err := Load([]byte(c.file))
		if err == nil || !strings.Contains(err.Error(), c.names) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, c.names)
		}
	}
	if _, err := Load([]byte(route() + strings.Repeat("#\n", maxFile))); err == nil {
		t.Error("a file of any size")
	}
}

// schema compiles the committed one.
func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	content, err := os.ReadFile("routes.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("routes.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("routes.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON turns YAML into what a schema judges; false if that can't be.
func asJSON(file string) (any, bool) {
	var v any
	if yaml.Unmarshal([]byte(file), &v) != nil {
		return nil, false
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, false
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	return document, err == nil
}

func TestTheSchemaAgreesWithTheDecoder(t *testing.T) {
	s := schema(t)
	for name, file := range good {
		if document, _ := asJSON(file); s.Validate(document) != nil {
			t.Errorf("%s: %v", name, s.Validate(document))
		}
	}
	for name, c := range bad {
		if document, ok := asJSON(c.file); c.bySchema && (!ok || s.Validate(document) == nil) {
			t.Errorf("%s: the schema takes it", name)
		}
	}
}

// FuzzLoad: what the decoder takes, the schema takes; and errors are one line.
func FuzzLoad(f *testing.F) {
	for _, file := range good {
		f.Add(file)
	}
	for _, c := range bad {
		f.Add(c.file)
	}
	s := schema(f)
	f.Fuzz(func(t *testing.T, file string) {
		_, err := Load([]byte(file))
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("%q", err)
			}
			return
		}
		if document, ok := asJSON(file); !ok || s.Validate(document) != nil {
			t.Fatalf("taken, but not by the schema: %v", s.Validate(document))
		}
	})
}
