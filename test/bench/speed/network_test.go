package speed

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/test/natstest"
	"github.com/tocsin-auth/tocsin/test/system"
)

const (
	plainNATS      = "a plain NATS request"
	introspect     = "introspection (SQLite)"
	introspect64   = "introspection (SQLite), 64 at once"
	introspectPG   = "introspection (PostgreSQL)"
	introspectPG64 = "introspection (PostgreSQL), 64 at once"
)

// network are checks that ask authsvc each time, and the least that asking can cost.
func (w *world) network(t *testing.T) []contender {
	all := []contender{w.waits.asking(plainNATS, 1, plainRequest(t))}
	all = append(all, w.asking(t, w.auth, w.user, elite, elite64, introspect, introspect64, firstKey, quota)...)
	if w.postgres != nil {
		user := w.postgres.Register(t, "speed")
		all = append(all, w.asking(t, w.postgres, user, elitePG, elitePG64, introspectPG, introspectPG64, firstKeyPG, quotaPG)...)
	}
	return all
}

// asking measures one authsvc under six names: elite alone and 64 at once, introspection alone and 64 at once, the first
// use of an API key, and a request of an exact quota.
func (w *world) asking(t *testing.T, a *system.Auth, user system.User, names ...string) []contender {
	v := w.verifier(t, a)
	checked, exact := route(t, v, verifier.Elite()), route(t, v, verifier.QuotaExact(requests))
	ask := func() error {
		_, err := v.Verify(t.Context(), verifier.Bearer(user.Token), checked)
		return err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	call := introspection(&http.Client{Transport: transport}, a, user)
	return []contender{
		w.waits.asking(names[0], 1, ask), w.waits.asking(names[1], 64, ask),
		w.waits.asking(names[2], 1, call), w.waits.asking(names[3], 64, call),
		w.waits.asking(names[4], 1, w.firstUse(t, a, user)),
		w.waits.asking(names[5], 1, func() error {
			_, err := v.Verify(t.Context(), verifier.Bearer(user.Token), exact)
			return err
		}),
	}
}

// firstUse shows API keys in turn to a verifier that can hold few of them, so that each is asked about anew.
func (w *world) firstUse(t *testing.T, a *system.Auth, user system.User) func() error {
	v := w.verifier(t, a, verifier.WithKeyCacheSize(1))
	ordinary, keys := route(t, v), makeKeys(t, a, user)
	next := 0
	return func() error {
		next = (next + 1) % len(keys)
		asked := v.Stats().Resolves
		_, err := v.Verify(context.Background(), keys[next], ordinary)
		if err == nil && v.Stats().Resolves == asked {
			return errors.New("an API key wasn't asked about")
		}
		return err
	}
}

// makeKeys makes about as many API keys as a user may have.
func makeKeys(t *testing.T, a *system.Auth, user system.User) (all []verifier.Credential) {
	t.Helper()
	for i := range 90 {
		var made struct {
			APIKey struct{ Key string } `json:"api_key"`
		}
		a.Must(t, 201, "POST", "/v1/me/api-keys", user.Auth(), map[string]string{"name": "key " + strconv.Itoa(i), "mode": "live"}).Into(t, &made)
		all = append(all, verifier.APIKey(made.APIKey.Key))
	}
	return all
}

// introspection asks by RFC 7662 whether the user's token is alive.
func introspection(client *http.Client, a *system.Auth, user system.User) func() error {
	body := url.Values{"token": {user.Token}}.Encode()
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(user.LiveKeyID+":"+user.LiveKey))
	return func() error {
		req, err := http.NewRequest(http.MethodPost, a.Base+"/oauth2/introspect", strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Authorization", basic)
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		got, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		var answer struct{ Active bool }
		if err := json.Unmarshal(got, &answer); err != nil || !answer.Active {
			return errors.New("introspection: not active: " + string(got))
		}
		return nil
	}
}

// plainRequest asks a responder in this process through a server in this process.
func plainRequest(t *testing.T) func() error {
	t.Helper()
	s := natstest.Start(t)
	answers, asks := s.Connect(t, "answers"), s.Connect(t, "asks")
	if _, err := answers.Subscribe("speed", func(m *nats.Msg) { m.Respond(m.Data) }); err != nil {
		t.Fatal(err)
	}
	if err := answers.Flush(); err != nil {
		t.Fatal(err)
	}
	question := make([]byte, 256) // an elite question is about as long
	return func() error {
		_, err := asks.Request("speed", question, time.Second)
		return err
	}
}
