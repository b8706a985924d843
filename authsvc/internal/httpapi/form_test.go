package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The secret that a refused request holds must not come back, in whatever form it was refused.
const secretValue = "hunter2hunter2"

func TestBodiesAreReadStrictly(t *testing.T) {
	s := newServer(t, nil)
	valid := `{"username":"alice","password":"` + secretValue + `"}`
	for name, test := range map[string]struct {
		request
		status int
		code   string
		field  string
	}{
		"unknown field":       {request{body: `{"username":"alice","password":"` + secretValue + `","otp":"1"}`}, 400, "invalid_request", "otp"},
		"cookie mode":         {request{body: `{"username":"alice","password":"` + secretValue + `","cookie":true}`}, 400, "invalid_request", "cookie"},
		"duplicate field":     {request{body: `{"username":"alice","password":"x","password":"` + secretValue + `"}`}, 400, "invalid_request", "password"},
		"escaped duplicate":   {request{body: `{"username":"alice","password":"x","passwor\u0064":"` + secretValue + `"}`}, 400, "invalid_request", "password"},
		"name in other case":  {request{body: `{"username":"alice","Password":"` + secretValue + `"}`}, 400, "invalid_request", "Password"},
		"missing field":       {request{body: `{"username":"` + secretValue + `"}`}, 400, "invalid_request", "password"},
		"number for text":     {request{body: `{"username":42,"password":"` + secretValue + `"}`}, 400, "invalid_request", "username"},
		"object for text":     {request{body: `{"username":{"$ne":""},"password":"` + secretValue + `"}`}, 400, "invalid_request", "username"},
		"array for text":      {request{body: `{"username":["` + secretValue + `"],"password":"x"}`}, 400, "invalid_request", "username"},
		"null for text":       {request{body: `{"username":null,"password":"` + secretValue + `"}`}, 400, "invalid_request", "username"},
		"unknown mode":        {request{body: `{"username":"alice","password":"x","mode":"` + secretValue + `"}`}, 400, "invalid_request", "mode"},
		"NUL":                 {request{body: `{"username":"alice","password":"` + secretValue + `\u0000"}`}, 400, "invalid_request", "password"},
		"invalid UTF-8":       {request{body: "{\"username\":\"\xff\",\"password\":\"" + secretValue + "\"}"}, 400, "invalid_request", ""},
		"trailing data":       {request{body: valid + valid}, 400, "invalid_request", ""},
		"not JSON":            {request{body: secretValue}, 400, "invalid_request", ""},
		"an array":            {request{body: `["` + secretValue + `"]`}, 400, "invalid_request", ""},
		"null":                {request{body: `null`}, 400, "invalid_request", ""},
		"text":                {request{body: `"` + secretValue + `"`}, 400, "invalid_request", ""},
		"empty":               {request{body: ""}, 400, "invalid_request", ""},
		"form":                {request{body: "username=alice&password=" + secretValue, header: with("Content-Type", "application/x-www-form-urlencoded")}, 415, "unsupported_media_type", ""},
		"no content type":     {request{body: valid, header: http.Header{}}, 415, "unsupported_media_type", ""},
		"other JSON":          {request{body: valid, header: with("Content-Type", "application/merge-patch+json")}, 415, "unsupported_media_type", ""},
		"latin1":              {request{body: valid, header: with("Content-Type", "application/json; charset=iso-8859-1")}, 415, "unsupported_media_type", ""},
		"broken content type": {request{body: valid, header: with("Content-Type", "application/json;;")}, 415, "unsupported_media_type", ""},
		"too large":           {request{body: `{"username":"alice","password":"` + strings.Repeat("x", maxBody) + `"}`}, 413, "too_large", ""},
		"unknown parameter":   {request{path: "/v1/login?password=" + secretValue, body: valid}, 400, "invalid_request", "password"},
		"broken query":        {request{path: "/v1/login?a=%zz", body: valid}, 400, "invalid_request", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := test.request
			r.method = http.MethodPost
			if r.path == "" {
				r.path = "/v1/login"
			}
			w := r.send(s)
			p := problem(t, w)
			if w.Code != test.status || p.Code != test.code {
				t.Fatalf("%d %s, want %d %s: %s", w.Code, p.Code, test.status, test.code, w.Body)
			}
			named := slices.ContainsFunc(p.Errors, func(e FieldError) bool { return e.Field == test.field })
			if test.field != "" && !named {
				t.Errorf("field %s isn't named: %s", test.field, w.Body)
			}
			if strings.Contains(w.Body.String(), secretValue) {
				t.Errorf("the value came back: %s", w.Body)
			}
			if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Request-Id") == "" {
				t.Errorf("headers: %v", w.Header())
			}
		})
	}
}

func TestLargestBodyPasses(t *testing.T) {
	s := newServer(t, nil)
	head, tail := `{"username":"alice","passwort":"`, `"}`
	body := head + strings.Repeat("x", maxBody-len(head)-len(tail)) + tail
	if w := (request{method: "POST", path: "/v1/login", body: body}).send(s); w.Code != http.StatusBadRequest {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestRouterRefusesInTheFormOfThePath(t *testing.T) {
	s := newServer(t, nil)
	for _, test := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/v1/nothing", 404, "not_found"},
		{"GET", "/v1/login/", 404, "not_found"},
		{"GET", "/", 404, "not_found"},
		{"GET", "/v1/login", 405, "method_not_allowed"},
		{"PUT", "/v1/me", 405, "method_not_allowed"},
		{"BREW", "/v1/me", 405, "method_not_allowed"},
		{"POST", "/healthz", 405, "method_not_allowed"},
	} {
		w := request{method: test.method, path: test.path}.send(s)
		if p := problem(t, w); w.Code != test.status || p.Code != test.code {
			t.Errorf("%s %s: %d %s", test.method, test.path, w.Code, p.Code)
		}
		if allow := w.Header().Get("Allow"); (allow != "") != (test.status == 405) {
			t.Errorf("%s %s: Allow %q", test.method, test.path, allow)
		}
	}
	if w := (request{method: "GET", path: "/oauth2/token"}).send(s); w.Code != 405 || !strings.HasPrefix(w.Body.String(), `{"error":"invalid_request"`) {
		t.Errorf("/oauth2: %d %s", w.Code, w.Body)
	}
	if w := (request{method: "GET", path: "/v1/login"}).send(s); w.Header().Get("Allow") != "POST" {
		t.Errorf("Allow %q", w.Header().Get("Allow"))
	}
	if w := (request{method: "HEAD", path: "/healthz"}).send(s); w.Code != 200 {
		t.Errorf("HEAD: %d", w.Code)
	}
}

func TestCredentialsComeInOneHeader(t *testing.T) {
	s := newServer(t, nil)
	for name, test := range map[string]struct {
		path       string
		header     http.Header
		status     int
		code       string
		challenges []string
	}{
		"none":             {"/v1/me/sessions", nil, 401, "unauthenticated", []string{`Bearer realm="tocsin"`}},
		"none, both taken": {"/v1/me", nil, 401, "unauthenticated", []string{`Bearer realm="tocsin"`, `Api-Key realm="tocsin"`}},
		"unknown scheme":   {"/v1/me", with("Authorization", "Digest x"), 401, "unauthenticated", []string{`Bearer realm="tocsin"`, `Api-Key realm="tocsin"`}},
		"key not taken":    {"/v1/me/sessions", with("Authorization", "Api-Key x"), 401, "unauthenticated", []string{`Bearer realm="tocsin"`}},
		"empty":            {"/v1/me/sessions", with("Authorization", ""), 400, "invalid_request", []string{`Bearer realm="tocsin", error="invalid_request"`}},
		"scheme alone":     {"/v1/me/sessions", with("Authorization", "Bearer"), 400, "invalid_request", []string{`Bearer realm="tocsin", error="invalid_request"`}},
		"two methods":      {"/v1/me", with("Authorization", "Bearer a, Api-Key b"), 400, "invalid_request", []string{`Bearer realm="tocsin", error="invalid_request"`, `Api-Key realm="tocsin"`}},
		"repeated":         {"/v1/me", with("Authorization", "Bearer a", "Authorization", "Bearer a"), 400, "invalid_request", []string{`Bearer realm="tocsin", error="invalid_request"`, `Api-Key realm="tocsin"`}},
		"in the query":     {"/v1/me?access_token=x", nil, 401, "unauthenticated", []string{`Bearer realm="tocsin"`, `Api-Key realm="tocsin"`}},
	} {
		t.Run(name, func(t *testing.T) {
			w := request{method: "GET", path: test.path, header: test.header}.send(s)
			if p := problem(t, w); w.Code != test.status || p.Code != test.code {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if got := w.Header().Values("WWW-Authenticate"); !slices.Equal(got, test.challenges) {
				t.Errorf("challenges %q, want %q", got, test.challenges)
			}
		})
	}
}
