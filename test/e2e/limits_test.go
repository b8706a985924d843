package e2e

import (
	"testing"

	"github.com/tocsin-auth/tocsin/test/system"
)

func TestLimitsOfStrangersHoldAsConfiguredInEachProcess(t *testing.T) {
	a := system.StartAuth(t, map[string]string{"TOCSIN_LIMIT_LOGINS": "2/24h", "TOCSIN_LIMIT_REGISTRATIONS": "1/24h", "TOCSIN_LIMIT_CREDENTIALS": "1/24h"})
	u := a.Register(t, "ada")
	for _, want := range []int{401, 401, 429} {
		got := a.Must(t, want, "POST", "/v1/login", "", map[string]any{"username": "ada", "password": "wrong"})
		if want == 429 && (got.Code() != "throttled" || got.Header.Get("Retry-After") == "") {
			t.Errorf("%v %v", got, got.Header)
		}
	}
	a.Must(t, 429, "POST", "/v1/register", "", map[string]any{"username": "bob", "password": u.Password})
	for _, want := range []int{401, 429} {
		a.Must(t, want, "POST", "/v1/token/refresh", "", map[string]any{"refresh_token": "x"})
	}
	a.Must(t, 200, "POST", "/v1/token/refresh", "", map[string]any{"refresh_token": u.RefreshToken})
	a.Must(t, 200, "GET", "/v1/me", u.Auth(), nil)
}
