package reading

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/test/bench/stage"
	"github.com/tocsin-auth/tocsin/test/system"
)

// users is how many credentials of each kind take turns, keys how many API keys there are to use for the first time.
const (
	users = 32
	keys  = 180 // of two users, who may have 100 each
)

// scene is a running authsvc with people and a verifier.
type scene struct {
	*stage.Stage
	verifier *verifier.Verifier
	elite    *verifier.Route
	tokens   []string
	keys     []string // never used for anything but the first use
	basic    string   // the introspecting client's Authorization header
	http     *http.Client
}

func newScene(t *testing.T, s *stage.Stage) *scene {
	t.Helper()
	c := &scene{Stage: s, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
	t.Cleanup(c.http.CloseIdleConnections)
	a := s.Auth[0]
	for i := range users {
		u := a.Register(t, "user"+strconv.Itoa(i))
		c.tokens = append(c.tokens, u.Token)
		if i == 0 {
			c.basic = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.LiveKeyID+":"+u.LiveKey))
			a.Must(t, 200, "PUT", "/v1/admin/users/"+u.ID+"/roles", a.Admin(t).Auth(), map[string]any{"roles": []string{"user", "introspect"}})
		}
		if i < 2 {
			c.addKeys(t, a, u)
		}
	}
	c.verifier = c.join(t)
	var err error
	if c.elite, err = c.verifier.Route(verifier.Elite()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *scene) addKeys(t *testing.T, a *system.Auth, u system.User) {
	t.Helper()
	for range keys / 2 {
		var made struct {
			APIKey struct{ Key string } `json:"api_key"`
		}
		a.Must(t, 201, "POST", "/v1/me/api-keys", u.Auth(), map[string]string{"name": "k", "mode": "live"}).Into(t, &made)
		c.keys = append(c.keys, made.APIKey.Key)
	}
}

// join starts a verifier and waits until it is fresh.
func (c *scene) join(t *testing.T) *verifier.Verifier {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	v, err := verifier.New(ctx, verifier.Config{Issuer: c.Issuer, Audience: "tocsin", Service: "resourcesvc", NATSURL: stage.URL(c.Bus)},
		verifier.WithNATSCredentials(c.Credentials), verifier.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	for v.Ready() != nil {
		select {
		case <-ctx.Done():
			t.Fatal(v.Ready())
		case <-time.After(time.Millisecond):
		}
	}
	return v
}

// serverCPU is the processor time that authsvc has used, where the system tells.
func (c *scene) serverCPU(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Auth[0].PID()))
	if err != nil {
		return 0
	}
	const user, tick = 11, 10 * time.Millisecond // the place after the name, and the kernel's unit for programs
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	return time.Duration(atoi(t, fields[user])+atoi(t, fields[user+1])) * tick
}

func atoi(t *testing.T, text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// kind is one kind of call. What prepare returns makes the i-th call; false means that there is none left to make.
type kind struct {
	name    string
	prepare func(t *testing.T, c *scene) func(i int) (more bool, err error)
}

var kinds = []kind{
	{"elite token", func(t *testing.T, c *scene) func(int) (bool, error) {
		return func(i int) (bool, error) {
			_, err := c.verifier.Verify(t.Context(), verifier.Bearer(c.tokens[i%len(c.tokens)]), c.elite)
			return true, err
		}
	}},
	{"elite key", func(t *testing.T, c *scene) func(int) (bool, error) {
		return func(i int) (bool, error) {
			_, err := c.verifier.Verify(t.Context(), verifier.APIKey(c.keys[i%len(c.keys)]), c.elite)
			return true, err
		}
	}},
	{"first use of a key", firstUses},
	{"introspection", func(t *testing.T, c *scene) func(int) (bool, error) {
		return func(i int) (bool, error) { return true, c.introspect(t.Context(), c.tokens[i%len(c.tokens)]) }
	}},
}

// firstUses starts verifiers that know no key; each can use each key for the first time once.
func firstUses(t *testing.T, c *scene) func(int) (bool, error) {
	all := make([]*verifier.Verifier, 6)
	for i := range all {
		all[i] = c.join(t)
	}
	return func(i int) (bool, error) {
		if i >= len(all)*len(c.keys) {
			return false, nil
		}
		_, err := all[i/len(c.keys)].Verify(t.Context(), verifier.APIKey(c.keys[i%len(c.keys)]), nil)
		return true, err
	}
}

func (c *scene) introspect(ctx context.Context, token string) error {
	body := strings.NewReader(url.Values{"token": {token}}.Encode())
	r, err := http.NewRequestWithContext(ctx, "POST", c.Auth[0].Base+"/oauth2/introspect", body)
	if err != nil {
		return err
	}
	r.Header["Content-Type"], r.Header["Authorization"] = []string{"application/x-www-form-urlencoded"}, []string{c.basic}
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	var found struct{ Active bool }
	if err := json.Unmarshal(text, &found); err != nil || !found.Active || answer.StatusCode != 200 {
		return fmt.Errorf("%d %s", answer.StatusCode, text)
	}
	return nil
}
