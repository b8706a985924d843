package exchange

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestGrantsThatAreSpentFitIntoRequests(t *testing.T) {
	var got []string
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var in struct {
			JobGrants []string `json:"job_grants"`
		}
		if err = errors.Join(err, json.Unmarshal(body, &in)); err != nil || len(body) > 64<<10 || len(in.JobGrants) > MaxSpent || len(in.JobGrants) == 0 {
			t.Errorf("%d bytes, %d grants, %v", len(body), len(in.JobGrants), err)
		}
		got = append(got, in.JobGrants...)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer issuer.Close()
	c := &Client{Issuer: issuer.URL + "/", Key: "k", HTTP: issuer.Client()}
	for _, grants := range [][]string{
		nil, {"g"}, slices.Repeat([]string{"g"}, 3*MaxSpent), slices.Repeat([]string{strings.Repeat("x", 8<<10)}, 20),
	} {
		got = nil
		if err := c.Spend(t.Context(), grants); err != nil || !slices.Equal(got, grants) {
			t.Errorf("%d of %d, %v", len(got), len(grants), err)
		}
	}
}

func TestSpendingTellsAKeyThatIsNoGoodFromAnIssuerThatIsAway(t *testing.T) {
	status := 0
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer issuer.Close()
	c := &Client{Issuer: issuer.URL, Key: "k", HTTP: issuer.Client()}
	for _, tc := range []struct {
		status int
		want   error
	}{{401, ErrClient}, {403, ErrClient}, {404, ErrAway}, {429, ErrAway}, {500, ErrAway}, {503, ErrAway}, {200, ErrAway}} {
		status = tc.status
		if err := c.Spend(t.Context(), []string{"secret"}); !errors.Is(err, tc.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d: %v", tc.status, err)
		}
	}
}
