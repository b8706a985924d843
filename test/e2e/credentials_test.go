package e2e

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

// sharedEnv is what replicas have in common on a NATS of one process with the permissions that ship.
func sharedEnv(t *testing.T) (nats *natstest.Process, env map[string]string) {
	nats = natstest.StartProcess(t, "resourcesvc")
	secret := make([]byte, 32)
	rand.Read(secret)
	return nats, map[string]string{
		"TOCSIN_DATABASE_URL":     pgtest.URL(t),
		"TOCSIN_NATS_URL":         "nats://" + nats.Host(),
		"TOCSIN_NATS_CREDS":       nats.SeedFile(natstest.AuthFeed),
		"TOCSIN_NATS_REPLY_CREDS": nats.SeedFile(natstest.AuthReply),
		"TOCSIN_SECRETS_KEY":      hex.EncodeToString(secret),
		"TOCSIN_ISSUER":           "http://" + system.FreeAddr(t),
	}
}

// The answering connection's credentials default to the feed's, which the shipped permissions don't let answer: a replica
// that was the dispatcher with them kept the whole fleet from proofs, and said that it was ready.
func TestNoCollateralOfAReplicaThatNATSDoesNotLetAnswer(t *testing.T) {
	nats, env := sharedEnv(t)
	wrong := map[string]map[string]string{
		"the feed's credentials for the answers": {"TOCSIN_NATS_REPLY_CREDS": ""},
		"a service's credentials":                {"TOCSIN_NATS_REPLY_CREDS": nats.SeedFile("resourcesvc")},
		"no credentials that NATS knows":         {"TOCSIN_NATS_REPLY_CREDS": natstest.StartProcess(t, "resourcesvc").SeedFile(natstest.AuthReply)},
	}
	var mute []*system.Auth
	for _, change := range wrong {
		env := maps.Clone(env)
		maps.Copy(env, change)
		a := system.PrepareAuth(t, env)
		a.Start(t)
		mute = append(mute, a)
		machine.Await(t, "a replica that serves HTTP, and has had its chance to take the lease", func() bool {
			got, err := a.Try(t.Context(), "GET", "/healthz", "", nil)
			return err == nil && got.Status == 200
		})
	}

	env["TOCSIN_HTTP_ADDR"] = strings.TrimPrefix(env["TOCSIN_ISSUER"], "http://")
	good := system.StartAuth(t, env)
	r := system.StartResource(t, good, map[string]string{"TOCSIN_NATS_CREDS": nats.SeedFile("resourcesvc")})
	u := good.Register(t, "bob")
	r.Must(t, 200, "GET", "/v1/whoami", u.Auth(), nil)

	for _, a := range mute {
		if got := a.Must(t, 503, "GET", "/readyz", "", nil); !strings.Contains(got.String(), `"nats":false`) {
			t.Errorf("/readyz: %v", got)
		}
		if got := a.Must(t, 200, "GET", "/metrics", "", nil); !strings.Contains(string(got.Body), "tocsin_feed_dispatcher 0") {
			t.Error("a replica that can't answer is the dispatcher")
		}
	}
}
