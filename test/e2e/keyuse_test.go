package e2e

import (
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/system"
)

func TestTheLastUseOfAKeyIsShown(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		alice := a.Register(t, "alice")
		began := time.Now().Add(-time.Second)
		r.Must(t, 200, "GET", "/v1/whoami", system.Key(alice.LiveKey), nil)
		a.Must(t, 200, "GET", "/v1/me", system.Key(alice.TestKey), nil)
		r.Do(t, "GET", "/v1/whoami", system.Key(alice.TestKey), nil) // refused: no use
		// Both tell what they know when they stop, the service to authsvc and authsvc to the database.
		r.Stop(t)
		a.Stop(t)
		a.Restart(t)
		var list struct {
			Items []struct {
				ID      string     `json:"id"`
				By      string     `json:"created_by"`
				UsedAt  *time.Time `json:"last_used_at"`
				Service string     `json:"last_used_service"`
			} `json:"items"`
		}
		a.Must(t, 200, "GET", "/v1/me/api-keys", alice.Auth(), nil).Into(t, &list)
		want := map[string]string{alice.LiveKeyID: "resourcesvc"}
		if len(list.Items) != 2 {
			t.Fatalf("%+v", list)
		}
		for _, k := range list.Items {
			service := want[k.ID]
			if service == "" {
				service = "authsvc" // the test key
			}
			if k.UsedAt == nil || k.UsedAt.Before(began) || k.UsedAt.After(time.Now().Add(time.Second)) || k.Service != service || k.By != alice.ID {
				t.Errorf("%+v, want a use at %s", k, service)
			}
		}
	})
}
