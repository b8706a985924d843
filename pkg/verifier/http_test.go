package verifier

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// call sends a request with Authorization headers through a guarded handler.
func (r *rig) call(target string, headers []string, opts ...RouteOption) *http.Response {
	request := httptest.NewRequest("GET", target, nil)
	request.Header["Authorization"] = headers
	if headers == nil {
		request.Header.Del("Authorization")
	}
	recorder := httptest.NewRecorder()
	r.Require(opts...)(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		p, ok := FromContext(q.Context())
		fmt.Fprint(w, ok, p.Subject)
	})).ServeHTTP(recorder, request)
	return recorder.Result()
}

const (
	bearerLine = `Bearer realm="cars"`
	keyLine    = `Api-Key realm="cars"`
)

func TestHTTPRefusals(t *testing.T) {
	good := mint(nil)
	for name, tc := range map[string]struct {
		target  string
		headers []string
		opts    []RouteOption
		world   func(*rig)
		status  int
		code    Code
		bearer  string // what follows the realm
		key     string
	}{
		"good":                          {headers: []string{"Bearer " + good}, status: 200},
		"scheme in capitals":            {headers: []string{"BEARER " + good}, status: 200},
		"several blanks":                {headers: []string{" bearer   " + good + " "}, status: 200},
		"a tab after the scheme":        {headers: []string{"Bearer\t" + good}, status: 401, code: CodeMissingCredential},
		"a tab before the token":        {headers: []string{"Bearer \t" + good}, status: 400, code: CodeInvalidRequest, bearer: invalidRequest},
		"no header":                     {status: 401, code: CodeMissingCredential},
		"unknown scheme":                {headers: []string{"Basic dTpw"}, status: 401, code: CodeMissingCredential},
		"a token without scheme":        {headers: []string{good}, status: 401, code: CodeMissingCredential},
		"scheme that begins like one":   {headers: []string{"Bearerx " + good}, status: 401, code: CodeMissingCredential},
		"token in the query only":       {target: "/?access_token=" + good, status: 401, code: CodeMissingCredential},
		"token in the query, too":       {target: "/?a=1&access_token=" + good, headers: []string{"Bearer " + good}, status: 400, code: CodeInvalidRequest, bearer: invalidRequest},
		"like-named parameter":          {target: "/?my_access_token=x", headers: []string{"Bearer " + good}, status: 200},
		"repeated header":               {headers: []string{"Bearer " + good, "Bearer " + good}, status: 400, code: CodeInvalidRequest, bearer: invalidRequest},
		"two methods":                   {headers: []string{"Bearer " + good, "Api-Key x"}, status: 400, code: CodeInvalidRequest, bearer: invalidRequest},
		"two methods in one header":     {headers: []string{"Bearer " + good + ", Api-Key x"}, status: 400, code: CodeInvalidRequest, bearer: invalidRequest},
		"two tokens":                    {headers: []string{"Bearer a b"}, status: 400, code: CodeInvalidRequest, bearer: invalidRequest},
		"empty header":                  {headers: []string{""}, status: 400, code: CodeInvalidRequest, bearer: invalidRequest},
		"blank header":                  {headers: []string{" \t"}, status: 400, code: CodeInvalidRequest, bearer: invalidRequest},
		"scheme alone":                  {headers: []string{"Bearer"}, status: 400, code: CodeInvalidRequest, bearer: invalidRequest},
		"Api-Key alone":                 {headers: []string{"Api-Key "}, status: 400, code: CodeInvalidRequest, bearer: invalidRequest},
		"malformed":                     {headers: []string{"Bearer hello"}, status: 401, code: CodeMalformed, bearer: `, error="invalid_token", error_description="the credential is malformed"`},
		"malformed key":                 {headers: []string{"api-key hello"}, status: 401, code: CodeMalformed, key: `, error="invalid_token", error_description="the credential is malformed"`},
		"revoked":                       {headers: []string{"Bearer " + good}, world: revoked(events.TokenRevoked{JTI: aliceToken}), status: 401, code: CodeRevoked, bearer: `, error="invalid_token", error_description="the credential was revoked"`},
		"role missing":                  {headers: []string{"Bearer " + good}, opts: []RouteOption{Role("admin"), AnyRole("editor", "owner")}, status: 403, code: CodeForbidden, bearer: `, error="insufficient_scope", error_description="the credential lacks a required role", scope="admin editor"`},
		"stale":                         {headers: []string{"Bearer " + good}, world: func(r *rig) { r.clock.Advance(time.Hour) }, status: 503, code: CodeStale},
		"auth away":                     {headers: []string{"Bearer " + good}, opts: []RouteOption{Elite()}, status: 503, code: CodeAuthUnavailable},
		"header longer than a token":    {headers: []string{"Bearer " + strings.Repeat("a", 1<<16)}, status: 401, code: CodeMalformed, bearer: `, error="invalid_token", error_description="the credential is malformed"`},
		"line break within":             {headers: []string{"Bearer a\r\nX: y"}, status: 400, code: CodeInvalidRequest, bearer: invalidRequest},
		"characters outside of a token": {headers: []string{"Bearer é\x00\""}, status: 401, code: CodeMalformed, bearer: `, error="invalid_token", error_description="the credential is malformed"`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if tc.world != nil {
				tc.world(r)
			}
			if tc.target == "" {
				tc.target = "/"
			}
			answer := r.call(tc.target, tc.headers, tc.opts...)
			body, _ := io.ReadAll(answer.Body)
			if answer.StatusCode != tc.status {
				t.Fatalf("status %d, want %d: %s", answer.StatusCode, tc.status, body)
			}
			if tc.status == 200 {
				if string(body) != "true"+alice {
					t.Errorf("the handler saw %s", body)
				}
				return
			}
			checkProblem(t, answer, body, tc.code)
			var lines []string
			if tc.status < 429 {
				lines = []string{bearerLine + tc.bearer, keyLine + tc.key}
			}
			if diff := cmp.Diff(lines, answer.Header["Www-Authenticate"]); diff != "" {
				t.Error(diff)
			}
			if (answer.Header.Get("Retry-After") == "1") != (tc.status == 503) {
				t.Errorf("Retry-After %q", answer.Header.Get("Retry-After"))
			}
		})
	}
}

const invalidRequest = `, error="invalid_request", error_description="the credential was not sent in the one accepted way"`

func checkProblem(t *testing.T, answer *http.Response, body []byte, code Code) {
	t.Helper()
	var p problem
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatal(err)
	}
	if p.Status != answer.StatusCode || p.Code != code || p.Title != http.StatusText(p.Status) || p.Detail == "" {
		t.Errorf("problem %+v", p)
	}
	if answer.Header.Get("Content-Type") != "application/problem+json" || answer.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", answer.Header)
	}
}

func TestEveryCodeHasItsOutcome(t *testing.T) {
	want := map[Code]outcome{
		CodeMissingCredential: {401, "", true, false},
		CodeInvalidRequest:    {400, "invalid_request", true, false},
		CodeMalformed:         {401, "invalid_token", true, false},
		CodeInvalidToken:      {401, "invalid_token", true, false},
		CodeExpired:           {401, "invalid_token", true, false},
		CodeRevoked:           {401, "invalid_token", true, false},
		CodeUnknownKey:        {401, "invalid_token", true, false},
		CodeWrongAudience:     {401, "invalid_token", true, false},
		CodeWrongMode:         {401, "invalid_token", true, false},
		CodeForbidden:         {403, "insufficient_scope", true, false},
		CodeQuotaExceeded:     {429, "", false, true},
		CodeStale:             {503, "", false, true},
		CodeAuthUnavailable:   {503, "", false, true},
	}
	for _, code := range codes {
		if outcomeOf(code) != want[code] {
			t.Errorf("%s: %+v", code, outcomeOf(code))
		}
	}
	if len(codes) != len(want) {
		t.Errorf("%d codes are counted, %d exist", len(codes), len(want))
	}
}

func TestRefuseTellsNothingOfOtherErrors(t *testing.T) {
	r, recorder := newRig(t), httptest.NewRecorder()
	r.Refuse(recorder, httptest.NewRequest("GET", "/", nil), errors.New("dial 10.0.0.7: secret"))
	if recorder.Code != 503 || strings.Contains(recorder.Body.String(), "secret") {
		t.Error(recorder.Code, recorder.Body)
	}
}

func TestHeadIsAnsweredWithoutBody(t *testing.T) {
	r, recorder := newRig(t), httptest.NewRecorder()
	r.Refuse(recorder, httptest.NewRequest("HEAD", "/", nil), ErrMissingCredential)
	if recorder.Code != 401 || recorder.Body.Len() != 0 {
		t.Error(recorder.Code, recorder.Body)
	}
}

func TestRequirePanicsOnAWrongOption(t *testing.T) {
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, ErrConfig) {
			t.Error(err)
		}
	}()
	newRig(t).Require(Role("*"))
}

func TestCredentialsDoNotFormatAsTheirSecret(t *testing.T) {
	c := APIKey("tcs_live_secret")
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s", c, c, c, c), fmt.Sprintf("%v", &c)} {
		if strings.Contains(text, "secret") {
			t.Error(text)
		}
	}
}

func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{"Bearer a", "api-key b", "Basic c", " ", "Bearer a,b", "bearer\ta"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c, err := parseAuthorization(value)
		if err != nil {
			if c != (Credential{}) || !errors.Is(err, ErrMissingCredential) && !errors.Is(err, ErrInvalidRequest) {
				t.Errorf("%q: %v", value, err)
			}
			return
		}
		if c.value == "" || strings.ContainsAny(c.value, " \t,") || !strings.HasSuffix(strings.Trim(value, " \t"), c.value) {
			t.Errorf("%q gave %q", value, c.value)
		}
	})
}
