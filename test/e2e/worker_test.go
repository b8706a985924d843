package e2e

import (
	"net/url"
	"testing"

	"github.com/tocsin-auth/tocsin/test/system"
)

// ask asks the token endpoint and returns the token.
func ask(t *testing.T, a *system.Auth, client string, fields map[string]any) string {
	t.Helper()
	values := url.Values{}
	for name, value := range fields {
		values.Set(name, value.(string))
	}
	var got struct {
		AccessToken string `json:"access_token"`
	}
	a.Must(t, 200, "POST", "/oauth2/token", client, values).Into(t, &got)
	return got.AccessToken
}

// A worker does a user's job with the user's data and no more than both may do; what it holds is good for nothing else.
func TestOneGuaranteeAWorkerActsForAUser(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		alice, bob, worker := a.Register(t, "alice"), a.Register(t, "bob"), a.Register(t, "worker")
		key := system.Key(worker.LiveKey)
		a.Must(t, 200, "PUT", path("/v1/admin/users/%s/roles?wait=fleet&timeout=30s", worker.ID), a.Admin(t).Auth(), map[string]any{"roles": []string{"user", "queue", "worker"}})
		grant := ask(t, a, key, forJob(exchange(alice.Token, accessToken), jobGrant))
		token := ask(t, a, key, forJob(exchange(grant, jobGrant)))

		for _, route := range []string{"/v1/whoami", "/v1/whoami/elite"} {
			var who whoami
			r.Must(t, 200, "GET", route, system.Bearer(token), nil).Into(t, &who)
			if who.Subject != alice.ID || who.Act == nil || *who.Act != (act{worker.ID, worker.LiveKeyID}) || who.KeyID != worker.LiveKeyID || who.Session != "" {
				t.Errorf("%s: %+v", route, who)
			}
		}
		var car struct{ ID, Owner string }
		r.Must(t, 201, "POST", "/v1/cars", system.Bearer(token), map[string]any{"make": "VW", "model": "Golf", "price": 1}).Into(t, &car)
		if car.Owner != alice.ID {
			t.Errorf("the car is %s's", car.Owner)
		}
		if got := r.Do(t, "DELETE", "/v1/cars/"+car.ID, system.Bearer(token), nil); got.Code() != "forbidden" {
			t.Errorf("what neither may: %v", got)
		}
		for name, credential := range map[string]string{"a job grant": grant, "a derived token": token} {
			if got := a.Do(t, "GET", "/v1/me", system.Bearer(credential), nil); got.Status != 401 {
				t.Errorf("%s as a caller of authsvc: %v", name, got)
			}
		}
		for _, route := range []string{"/v1/whoami", "/v1/whoami/elite"} {
			if got := r.Do(t, "GET", route, system.Bearer(grant), nil); got.Code() != "invalid_token" {
				t.Errorf("%s: a job grant as an access token: %v", route, got)
			}
			own := ask(t, a, system.Key(bob.TestKey), map[string]any{"grant_type": "client_credentials"})
			if got := r.Do(t, "GET", route, system.Bearer(own), nil); got.Code() != "wrong_mode" {
				t.Errorf("%s: a test key's token at a live service: %v", route, got)
			}
		}
		a.Must(t, 204, "POST", "/v1/logout?wait=fleet&timeout=30s", alice.Auth(), nil)
		if got := r.Do(t, "GET", "/v1/whoami", system.Bearer(token), nil); !revoked(got) {
			t.Errorf("after the logout: %v", got)
		}
	})
}
