package exchange

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T, answer http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(answer)
	c := &Client{Issuer: s.URL + "/", Key: "own", HTTP: NewHTTP()}
	t.Cleanup(func() { c.HTTP.CloseIdleConnections(); s.Close() })
	return c
}

func TestAGrantIsExchangedForItsJob(t *testing.T) {
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		for name, want := range map[string]string{
			"grant_type": grantType, "subject_token": "g", "subject_token_type": TypeJobGrant, "requested_token_type": TypeAccessToken, "job_id": "a b&c",
		} {
			if got := r.PostFormValue(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if r.URL.Path != "/oauth2/token" || r.Header.Get("Authorization") != "Api-Key own" || r.URL.RawQuery != "" {
			t.Errorf("%s, %v", r.URL, r.Header)
		}
		_, _ = io.WriteString(w, `{"access_token":"t","issued_token_type":"`+TypeAccessToken+`","token_type":"Bearer","expires_in":300}`)
	})
	token, err := c.Redeem(t.Context(), "g", "a b&c")
	if left := time.Until(token.Expires); err != nil || token.Value != "t" || left > 300*time.Second || left < 200*time.Second {
		t.Errorf("%+v, %v", token, err)
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	for _, tc := range []struct {
		status int
		body   string
		want   error
	}{
		{400, `{"error":"invalid_grant"}`, ErrGrant},
		{401, `{"error":"invalid_client"}`, ErrClient},
		{400, `{"error":"unauthorized_client"}`, ErrClient},
		{400, `{"error":"invalid_request","error_description":"job_id"}`, ErrRequest},
		{400, `{"error":"invalid_scope"}`, ErrRequest},
		{400, `{"error":"something else"}`, ErrAway},
		{400, `no JSON`, ErrAway},
		{429, `{"error":"temporarily_unavailable"}`, ErrAway},
		{503, `{"error":"invalid_grant"}`, ErrAway},
		{302, `{}`, ErrAway},
		{200, `{}`, ErrAway},
		{200, `{"access_token":"t","issued_token_type":"` + TypeJobGrant + `","expires_in":300}`, ErrAway}, // not what was asked for
		{200, `{"access_token":"t","issued_token_type":"` + TypeAccessToken + `"}`, ErrAway},
	} {
		c := client(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			w.WriteHeader(tc.status)
			_, _ = io.WriteString(w, tc.body)
		})
		_, err := c.Redeem(t.Context(), "secret grant", "j")
		if !errors.Is(err, tc.want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "something else") {
			t.Errorf("%d %s: %v, want %v", tc.status, tc.body, err, tc.want)
		}
	}
	gone := &Client{Issuer: "http://127.0.0.1:1", Key: "own", HTTP: NewHTTP()}
	if _, err := gone.MintGrant(t.Context(), "secret", TypeAPIKey, "j"); !errors.Is(err, ErrAway) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestARefusalNamesTheRoleThatIsMissing(t *testing.T) {
	c := client(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(400)
		_, _ = io.WriteString(w, `{"error":"unauthorized_client"}`)
	})
	_, minting := c.MintGrant(t.Context(), "a", TypeAccessToken, "j")
	_, using := c.Redeem(t.Context(), "g", "j")
	for role, err := range map[string]error{"queue": minting, "worker": using} {
		if !errors.Is(err, ErrClient) || !strings.HasSuffix(err.Error(), "role "+role) {
			t.Errorf("%v, want %s", err, role)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(200, []byte(`{"access_token":"t","issued_token_type":"`+TypeAccessToken+`","expires_in":300}`))
	f.Add(400, []byte(`{"error":"invalid_grant"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		res := &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(string(body)))}
		token, err := decode(res, time.Now(), TypeAccessToken)
		if (err == nil) != (token.Value != "") || err == nil && status != http.StatusOK {
			t.Errorf("%d %q: %+v, %v", status, body, token, err)
		}
	})
}
