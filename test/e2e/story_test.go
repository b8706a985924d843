package e2e

import (
	"testing"

	"github.com/tocsin-auth/tocsin/test/system"
)

var revoked = system.Status(401, "revoked")

type whoami struct {
	Subject string   `json:"subject"`
	Roles   []string `json:"roles"`
	Method  string   `json:"method"`
	Mode    string   `json:"mode"`
	KeyID   string   `json:"key_id"`
	Session string   `json:"session_id"`
	Act     *act     `json:"act"`
}

type act struct {
	Subject  string `json:"sub"`
	ClientID string `json:"client_id"`
}

func TestOneGuaranteeACredentialDiesEverywhere(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		admin, alice := a.Admin(t), a.Register(t, "alice")

		var who whoami
		r.Must(t, 200, "GET", "/v1/whoami", alice.Auth(), nil).Into(t, &who)
		if who.Subject != alice.ID || who.Method != "bearer" || who.Mode != "live" || who.Session != alice.Session {
			t.Errorf("token: %+v", who)
		}
		r.Must(t, 200, "GET", "/v1/whoami", system.Key(alice.LiveKey), nil).Into(t, &who)
		if who.Subject != alice.ID || who.Method != "api_key" || who.KeyID != alice.LiveKeyID {
			t.Errorf("key: %+v", who)
		}
		r.Must(t, 200, "GET", "/v1/whoami/elite", alice.Auth(), nil)
		r.Must(t, 200, "GET", "/v1/whoami/elite", system.Key(alice.LiveKey), nil)
		if got := r.Do(t, "GET", "/v1/whoami", system.Key(alice.TestKey), nil); got.Code() != "wrong_mode" {
			t.Errorf("a test key at a live service: %v", got)
		}

		// One token dies; the keys and the other session live.
		second := alice
		a.Login(t, &second)
		receipt := a.Must(t, 200, "POST", "/v1/admin/revocations?wait=fleet&timeout=30s", admin.Auth(), map[string]any{"token": alice.Token}).Receipt(t)
		if !receipt.Published || receipt.Seq == nil || receipt.Fleet == nil || receipt.Fleet.Applied != 1 {
			t.Errorf("receipt: %+v", receipt)
		}
		if got := r.Do(t, "GET", "/v1/whoami", alice.Auth(), nil); !revoked(got) {
			t.Errorf("after a receipt of the whole fleet: %v", got)
		}
		if got := r.Do(t, "GET", "/v1/whoami/elite", alice.Auth(), nil); !revoked(got) {
			t.Errorf("elite: %v", got)
		}
		r.Must(t, 200, "GET", "/v1/whoami", second.Auth(), nil)
		r.Must(t, 200, "GET", "/v1/whoami", system.Key(alice.LiveKey), nil)

		// Everything of the user dies, keys included.
		a.Must(t, 200, "POST", "/v1/admin/revocations", admin.Auth(), map[string]any{"user_id": alice.ID})
		r.Eventually(t, "GET", "/v1/whoami", second.Auth(), revoked)
		r.Eventually(t, "GET", "/v1/whoami", system.Key(alice.LiveKey), revoked)
		if got := a.Do(t, "POST", "/v1/token/refresh", "", map[string]any{"refresh_token": second.RefreshToken}); got.Code() != "invalid_refresh_token" {
			t.Errorf("refresh after revocation: %v", got)
		}
		// What is issued after the revocation lives.
		a.Login(t, &alice)
		r.Must(t, 200, "GET", "/v1/whoami", alice.Auth(), nil)
	})
}

func TestOneGuaranteeRolesFollowTheUserWithoutANewToken(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		admin, bob := a.Admin(t), a.Register(t, "bob")
		var car struct {
			ID string `json:"id"`
		}
		r.Must(t, 201, "POST", "/v1/cars", bob.Auth(), map[string]any{"make": "Saab", "model": "900", "price": 100}).Into(t, &car)
		if got := r.Do(t, "DELETE", "/v1/cars/"+car.ID, bob.Auth(), nil); got.Code() != "forbidden" {
			t.Errorf("delete without the role: %v", got)
		}
		a.Must(t, 200, "PUT", path("/v1/admin/users/%s/roles", bob.ID), admin.Auth(), map[string]any{"roles": []string{"admin", "user"}})
		r.Must(t, 204, "DELETE", "/v1/cars/"+car.ID, bob.Auth(), nil)

		a.Must(t, 200, "PUT", path("/v1/admin/users/%s/roles?wait=fleet&timeout=30s", bob.ID), admin.Auth(), map[string]any{"roles": []string{"guest"}})
		if got := r.Do(t, "POST", "/v1/cars", bob.Auth(), map[string]any{"make": "Saab", "model": "96", "price": 1}); got.Code() != "forbidden" {
			t.Errorf("an ordinary call after the role was lost: %v", got)
		}

		a.Must(t, 200, "PUT", path("/v1/admin/users/%s/status?wait=fleet&timeout=30s", bob.ID), admin.Auth(), map[string]any{"disabled": true})
		for name, credential := range map[string]string{"token": bob.Auth(), "key": system.Key(bob.LiveKey)} {
			for _, route := range []string{"/v1/whoami", "/v1/whoami/elite"} {
				if got := r.Do(t, "GET", route, credential, nil); got.Status != 401 {
					t.Errorf("%s of a disabled user on %s: %v", name, route, got)
				}
			}
		}
		a.Must(t, 200, "PUT", path("/v1/admin/users/%s/status?wait=fleet&timeout=30s", bob.ID), admin.Auth(), map[string]any{"disabled": false})
		r.Eventually(t, "GET", "/v1/whoami", system.Key(bob.LiveKey), system.Status(200, ""))
		if got := r.Do(t, "GET", "/v1/whoami", bob.Auth(), nil); !revoked(got) {
			t.Errorf("a session that a disable ended came back: %v", got)
		}
	})
}

func TestOneGuaranteeAPIKeysAreRotatedSuspendedAndDeleted(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		carol := a.Register(t, "carol")
		key := system.Key(carol.LiveKey)
		r.Must(t, 200, "GET", "/v1/whoami", key, nil)

		one := path("/v1/me/api-keys/%s?wait=fleet&timeout=30s", carol.LiveKeyID)
		a.Must(t, 200, "PATCH", one, carol.Auth(), map[string]any{"disabled": true})
		if got := r.Do(t, "GET", "/v1/whoami", key, nil); got.Status != 401 {
			t.Errorf("suspended: %v", got)
		}
		a.Must(t, 200, "PATCH", one, carol.Auth(), map[string]any{"disabled": false})
		r.Must(t, 200, "GET", "/v1/whoami", key, nil)

		var rotated struct {
			APIKey struct{ ID, Key string } `json:"api_key"`
		}
		a.Must(t, 200, "POST", path("/v1/me/api-keys/%s/rotate?wait=fleet&timeout=30s", carol.LiveKeyID), carol.Auth(), map[string]any{"overlap": "24h"}).Into(t, &rotated)
		r.Must(t, 200, "GET", "/v1/whoami", key, nil)
		r.Must(t, 200, "GET", "/v1/whoami", system.Key(rotated.APIKey.Key), nil)

		a.Must(t, 200, "POST", path("/v1/me/api-keys/%s/rotate?wait=fleet&timeout=30s", rotated.APIKey.ID), carol.Auth(), map[string]any{"overlap": "0s"})
		if got := r.Do(t, "GET", "/v1/whoami", system.Key(rotated.APIKey.Key), nil); got.Status != 401 {
			t.Errorf("rotated without overlap: %v", got)
		}
		a.Must(t, 204, "DELETE", one, carol.Auth(), nil)
		if got := r.Do(t, "GET", "/v1/whoami", key, nil); got.Status != 401 {
			t.Errorf("deleted: %v", got)
		}
	})
}

func TestOneGuaranteeEverybodyIsLoggedOutAtOnce(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		admin, dave := a.Admin(t), a.Register(t, "dave")
		a.Must(t, 200, "POST", "/v1/admin/revocations?wait=fleet&timeout=30s", admin.Auth(), map[string]any{"all": true})
		if got := r.Do(t, "GET", "/v1/whoami", dave.Auth(), nil); !revoked(got) {
			t.Errorf("token: %v", got)
		}
		r.Must(t, 200, "GET", "/v1/whoami", system.Key(dave.LiveKey), nil)
		if got := a.Do(t, "POST", "/v1/token/refresh", "", map[string]any{"refresh_token": dave.RefreshToken}); got.Code() != "invalid_refresh_token" {
			t.Errorf("refresh: %v", got)
		}
		a.Login(t, &dave)
		r.Must(t, 200, "GET", "/v1/whoami", dave.Auth(), nil)
		admin = a.Admin(t)
		a.Must(t, 200, "POST", "/v1/admin/revocations?wait=fleet&timeout=30s", admin.Auth(), map[string]any{"all": true, "keys": true})
		if got := r.Do(t, "GET", "/v1/whoami", system.Key(dave.LiveKey), nil); !revoked(got) {
			t.Errorf("key: %v", got)
		}
	})
}

func TestNoCollateralOfASigningKeyRotation(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		admin, erin := a.Admin(t), a.Register(t, "erin")
		a.Must(t, 200, "POST", "/v1/admin/signing-keys/rotate", admin.Auth(), map[string]any{})
		for range 50 {
			r.Must(t, 200, "GET", "/v1/whoami", erin.Auth(), nil)
		}
		a.Must(t, 200, "POST", "/v1/admin/signing-keys/rotate?wait=fleet&timeout=30s", admin.Auth(), map[string]any{"emergency": true})
		r.Eventually(t, "GET", "/v1/whoami", erin.Auth(), system.Status(401, "invalid_token"))
		a.Login(t, &erin)
		r.Must(t, 200, "GET", "/v1/whoami", erin.Auth(), nil)
	})
}
