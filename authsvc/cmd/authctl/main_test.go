package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const aliceID = "0198c5a0-0000-7000-8000-000000000001"

// fakeAuth answers as authsvc does and remembers what it was asked.
type fakeAuth struct {
	*httptest.Server
	asked   []string // METHOD path?query body
	valid   string   // the access token that it takes
	answers map[string]string
}

func newFakeAuth(t *testing.T) *fakeAuth {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	f := &fakeAuth{valid: "first", answers: map[string]string{
		"GET /v1/admin/users":             `{"items":[{"id":"` + aliceID + `","username":"alice","roles":["user","admin"],"plan":"free"}],"next_cursor":"c1"}`,
		"GET /v1/admin/verifiers":         `{"items":[{"service":"cars","instance":"i1","state":"fresh","applied_seq":7,"lag":0}]}`,
		"POST /v1/admin/feed-keys/rotate": `{"kid":"k2","signs_at":"2027-01-02T03:04:05Z"}`,
		"GET /v1/me/api-keys":             `{"items":[{"id":"k1","name":"evil\u001b[2Jname","mode":"live"}]}`,
		"POST /v1/admin/services":         `{"name":"cars","nkey_seed":"SUSEED","nats_config":"account block"}`,
		"POST /v1/me/api-keys":            `{"api_key":{"id":"k1","name":"ci","mode":"live","key":"tcs_live_x"}}`,
	}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	t.Setenv("TOCSIN_URL", f.URL)
	return f
}

func (f *fakeAuth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.asked = append(f.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
	switch {
	case r.URL.Path == "/v1/login" && strings.Contains(string(body), `"right"`):
		io.WriteString(w, `{"access_token":"first","refresh_token":"r1","session_id":"s1"}`)
	case r.URL.Path == "/v1/login":
		refuse(w, 401, `{"status":401,"code":"invalid_credentials","detail":"wrong\nthing"}`)
	case r.URL.Path == "/v1/token/refresh" && strings.Contains(string(body), `"r1"`):
		f.valid = "second"
		io.WriteString(w, `{"access_token":"second","refresh_token":"r2"}`)
	case r.URL.Path == "/v1/token/refresh":
		refuse(w, 401, `{"status":401,"code":"invalid_refresh_token"}`)
	case r.Header.Get("Authorization") != "Bearer "+f.valid:
		refuse(w, 401, `{"status":401,"code":"unauthenticated"}`)
	case r.Method == "DELETE" || r.URL.Path == "/v1/admin/revocations":
		w.Header().Set("Tocsin-Receipt", `{"event_id":"e1","seq":9,"published":true,"fleet":{"applied":2,"total":3,"laggards":["cars/i2"]},"elapsed_ms":2.5}`)
		w.WriteHeader(204)
	default:
		io.WriteString(w, f.answers[r.Method+" "+r.URL.Path])
	}
}

func refuse(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// ctl runs one command line.
func ctl(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func login(t *testing.T) {
	t.Helper()
	if code, _, stderr := ctl(t, "right\n", "login", "alice"); code != 0 {
		t.Fatalf("login: exit %d: %s", code, stderr)
	}
}

func TestLoginKeepsTheSessionForItsOwnServerAndReaderOnly(t *testing.T) {
	newFakeAuth(t)
	login(t)
	path, err := credentialPath()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("session file: %v, %v", info, err)
	}
	if code, _, _ := ctl(t, "", "users"); code != 0 {
		t.Errorf("users with the kept session: exit %d", code)
	}
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another server was sent %q", r.Header.Get("Authorization"))
	}))
	defer other.Close()
	if code, _, _ := ctl(t, "", "--url", other.URL, "users"); code != 1 {
		t.Errorf("users at another server: exit %d, want 1", code)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := ctl(t, "", "users"); code != 1 || !strings.Contains(stderr, "0600") {
		t.Errorf("a session file that others can read: exit %d: %s", code, stderr)
	}
}

func TestFailuresGoToStandardErrorInOneLineWithTheirExitCode(t *testing.T) {
	newFakeAuth(t)
	for _, tc := range []struct {
		name, stdin string
		args        []string
		code        int
		says        string
	}{
		{"refused login", "wrong\n", []string{"login", "alice"}, 1, "invalid_credentials"},
		{"no password", "\n", []string{"login", "alice"}, 1, "no password"},
		{"not logged in", "", []string{"users"}, 1, "not logged in"},
		{"unknown command", "", []string{"userz"}, 2, "userz"},
		{"no selector", "", []string{"revoke"}, 2, "--user"},
		{"two selectors", "", []string{"revoke", "--user=a", "--all"}, 2, "--all"},
		{"bad time", "", []string{"revoke", "--issued-before=yesterday"}, 2, "--issued-before"},
		{"http beyond this machine", "", []string{"--url=http://auth.example.com", "users"}, 2, "https"},
		{"admin filter on own keys", "", []string{"keys", "--user=bob"}, 2, "--all"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, stdout, stderr := ctl(t, tc.stdin, tc.args...)
			if code != tc.code || !strings.Contains(stderr, tc.says) {
				t.Errorf("exit %d, want %d: %q should say %q", code, tc.code, stderr, tc.says)
			}
			if stdout != "" || strings.Count(stderr, "\n") != 1 {
				t.Errorf("stdout %q, stderr %q: want one line of stderr", stdout, stderr)
			}
		})
	}
}

func TestExpiredSessionIsRenewedOnce(t *testing.T) {
	f := newFakeAuth(t)
	login(t)
	f.valid = "nothing"
	if code, _, stderr := ctl(t, "", "users"); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	f.valid = "nothing again"
	if code, _, stderr := ctl(t, "", "users"); code != 1 || !strings.Contains(stderr, "session has ended") {
		t.Errorf("dead session: exit %d: %s", code, stderr)
	}
}

func TestRevokeSendsOneSelectorAndShowsTheReceipt(t *testing.T) {
	f := newFakeAuth(t)
	login(t)
	for _, tc := range []struct {
		args []string
		body string
	}{
		{[]string{"--user=alice"}, `{"user_id":"` + aliceID + `"}`},
		{[]string{"--users=u1,u2", "--reason=leak"}, `{"reason":"leak","user_ids":["u1","u2"]}`},
		{[]string{"--token-file=-"}, `{"token":"secret"}`},
		{[]string{"--all", "--keys"}, `{"all":true,"keys":true}`},
	} {
		code, stdout, stderr := ctl(t, "secret\n", append([]string{"revoke", "--wait=fleet"}, tc.args...)...)
		if code != 0 || !strings.Contains(stdout, "applied by 2 of 3") || !strings.Contains(stdout, "cars/i2") {
			t.Errorf("%v: exit %d: %s%s", tc.args, code, stdout, stderr)
		}
		want := "POST /v1/admin/revocations?timeout=2s&wait=fleet " + tc.body
		if got := f.asked[len(f.asked)-1]; got != want {
			t.Errorf("asked %s\nwant  %s", got, want)
		}
	}
}

func TestFeedKeyRotationAsksForWhatWasSaid(t *testing.T) {
	f := newFakeAuth(t)
	login(t)
	for body, args := range map[string][]string{
		`{"emergency":false}`:                   nil,
		`{"ahead":"24h0m0s","emergency":false}`: {"--ahead=24h"},
		`{"emergency":true}`:                    {"--emergency"},
	} {
		code, stdout, stderr := ctl(t, "", append([]string{"feed-keys", "rotate"}, args...)...)
		if got, want := f.asked[len(f.asked)-1], "POST /v1/admin/feed-keys/rotate "+body; code != 0 || got != want || !strings.Contains(stdout, "k2") {
			t.Errorf("exit %d, asked %s, want %s: %s%s", code, got, want, stdout, stderr)
		}
	}
}

func TestJSONOutputIsTheAnswer(t *testing.T) {
	newFakeAuth(t)
	login(t)
	for _, args := range [][]string{
		{"users"}, {"verifiers"}, {"services", "add", "cars"}, {"keys", "create", "ci"}, {"users", "delete", aliceID},
	} {
		code, stdout, stderr := ctl(t, "", append([]string{"--json"}, args...)...)
		if code != 0 || !json.Valid([]byte(stdout)) {
			t.Errorf("%v: exit %d: %s%s", args, code, stdout, stderr)
		}
	}
}

func TestNamesOfOthersCannotDriveTheTerminal(t *testing.T) {
	newFakeAuth(t)
	login(t)
	code, stdout, _ := ctl(t, "", "keys")
	if code != 0 || strings.Contains(stdout, "\x1b") || !strings.Contains(stdout, "evil") {
		t.Errorf("exit %d: %q", code, stdout)
	}
}

func TestServiceSeedGoesToANewFileOnly(t *testing.T) {
	newFakeAuth(t)
	login(t)
	path := filepath.Join(t.TempDir(), "cars.nk")
	code, stdout, stderr := ctl(t, "", "services", "add", "cars", "--seed-file", path)
	if code != 0 || strings.Contains(stdout, "SUSEED") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "SUSEED\n" {
		t.Errorf("seed file: %q, %v", content, err)
	}
	if code, _, _ := ctl(t, "", "services", "add", "cars", "--seed-file", path); code != 1 {
		t.Errorf("existing file: exit %d, want 1", code)
	}
}

func TestNKeysAreMadeOnceAndTheirSeedsArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nats")
	code, first, stderr := ctl(t, "", "nkeys", dir, "auth_feed", "my-cars")
	if code != 0 || !strings.Contains(first, "TOCSIN_NKEY_AUTH_FEED=U") || !strings.Contains(first, "TOCSIN_NKEY_MY_CARS=U") {
		t.Fatalf("exit %d: %s%s", code, first, stderr)
	}
	if _, again, _ := ctl(t, "", "nkeys", dir, "auth_feed", "my-cars"); again != first {
		t.Errorf("again: %s, want the same as before", again)
	}
	info, err := os.Stat(filepath.Join(dir, "auth_feed.nk"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("seed: %v, %v", info, err)
	}
	if code, _, _ := ctl(t, "", "nkeys", dir, "../x"); code != 2 {
		t.Errorf("a name that leaves the directory: exit %d, want 2", code)
	}
}
