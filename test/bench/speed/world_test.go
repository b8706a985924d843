package speed

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiermodel"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

const (
	readyTimeout = 2 * time.Minute
	// neverSeen is how many tokens take turns where each has to look new: many more than the small cache holds.
	neverSeen = 256
)

// world is the running system, and the work.
type world struct {
	auth     *system.Auth
	user     system.User // who has API keys and may introspect their own
	admin    system.User
	token    string   // one that is used all the time
	tokens   []string // that are never seen often enough to be held
	dead     []string // revoked, all of one session
	postgres *system.Auth
	redis    string            // its address, or ""
	why      map[string]string // why something isn't measured, by what it needs
	waits    waits
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{why: map[string]string{}, waits: waits{}}
	w.redis = startRedis(t, w.why) // first: if it has to be there and isn't, one learns that at once
	w.postgres = startPostgres(t, w.why)
	w.auth = system.StartAuth(t, environment(nil))
	w.admin, w.user = w.auth.Admin(t), w.auth.Register(t, "speed")
	w.token = w.user.Token
	limitRequests(t, w.auth)
	w.tokens = w.makeTokens(t, neverSeen)
	w.dead = w.revoke(t, max(*revoked, 1))
	return w
}

// environment is that of every authsvc: tokens outlive the run.
func environment(more map[string]string) map[string]string {
	env := map[string]string{"TOCSIN_ACCESS_TTL": "4h"}
	for name, value := range more {
		env[name] = value
	}
	return env
}

func startPostgres(t *testing.T, why map[string]string) *system.Auth {
	t.Helper()
	server, err := pgtest.StartPrivate(t.Context())
	if errors.Is(err, pgtest.ErrMissing) && !pgtest.Required() {
		why["PostgreSQL"] = err.Error()
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	url, err := server.CreateDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a := system.StartAuth(t, environment(map[string]string{"TOCSIN_DATABASE_URL": url}))
	limitRequests(t, a)
	return a
}

// requests is a resource of which everybody has more than is ever spent.
const requests = "requests"

func limitRequests(t *testing.T, a *system.Auth) {
	t.Helper()
	limit := map[string]any{"resource": requests, "limit": 1_000_000_000_000, "window": "744h"}
	a.Must(t, 200, "PUT", "/v1/admin/plans", a.Admin(t).Auth(), map[string]any{"plans": []any{map[string]any{"name": "free", "limits": []any{limit}}}})
}

// makeTokens has authsvc issue n tokens of a session of their own.
func (w *world) makeTokens(t *testing.T, n int) []string {
	t.Helper()
	user := w.user
	w.auth.Login(t, &user)
	tokens, err := refresh(t.Context(), w.auth, user.RefreshToken, n)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// refresh returns the access tokens of n refreshes, one after the other.
func refresh(ctx context.Context, a *system.Auth, secret string, n int) (tokens []string, err error) {
	for range n {
		answer, err := a.Try(ctx, "POST", "/v1/token/refresh", "", map[string]string{"refresh_token": secret})
		if err != nil {
			return nil, err
		}
		var got struct {
			AccessToken  string `json:"access_token"`
			RefreshToken string `json:"refresh_token"`
		}
		if err := json.Unmarshal(answer.Body, &got); err != nil || answer.Status != 200 {
			return nil, errors.Join(err, errors.New("refresh: "+answer.String()))
		}
		tokens, secret = append(tokens, got.AccessToken), got.RefreshToken
	}
	return tokens, nil
}

// revoke makes n tokens and revokes each.
func (w *world) revoke(t *testing.T, n int) []string {
	t.Helper()
	tokens := w.makeTokens(t, n)
	for _, token := range tokens {
		w.auth.Must(t, 200, "POST", "/v1/admin/revocations?wait=none", w.admin.Auth(), map[string]any{"token": token})
	}
	return tokens
}

// verifier starts one that knows all that is revoked.
func (w *world) verifier(t *testing.T, a *system.Auth, opts ...verifier.Option) *verifier.Verifier {
	t.Helper()
	v := startVerifier(t, verifier.Config{Issuer: a.Issuer, Audience: "tocsin", Service: "resourcesvc", NATSURL: a.NATSURL},
		append(opts, verifier.WithNATSCredentials(a.ResourceEnv(t)["TOCSIN_NATS_CREDS"]))...)
	if a == w.auth {
		w.awaitRevocations(t, v)
	}
	return v
}

// startVerifier waits until it is fresh.
func startVerifier(t *testing.T, cfg verifier.Config, opts ...verifier.Option) *verifier.Verifier {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), readyTimeout)
	defer cancel()
	v, err := verifier.New(ctx, cfg, append(opts, verifier.WithLogger(slog.New(slog.DiscardHandler)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	if err := v.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return v
}

func (w *world) awaitRevocations(t *testing.T, v *verifier.Verifier) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), readyTimeout)
	defer cancel()
	for {
		changed := verifiermodel.Changed(v)
		if v.Stats().Revocations >= len(w.dead) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("the verifier doesn't hear of what was revoked")
		}
	}
}

// idOf returns the jti of a token.
func idOf(token string) string {
	var c struct {
		ID string `json:"jti"`
	}
	if err := json.Unmarshal([]byte(payloadOf(token)), &c); err != nil || c.ID == "" {
		panic("a token without an id") // authsvc has just issued it
	}
	return c.ID
}

func payloadOf(token string) string {
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		panic(err)
	}
	return string(payload)
}

// idsOf returns those of many.
func idsOf(tokens []string) []string {
	ids := make([]string, len(tokens))
	for i, token := range tokens {
		ids[i] = idOf(token)
	}
	return ids
}

// contenders returns all, by what they are about.
func (w *world) contenders(t *testing.T) []contender {
	parser, crowd := w.parser(t), newIssuer(t, w.auth.Issuer).sign(t, w.token, *many)
	list := w.pollList(t)
	return slices.Concat(
		w.tocsin(t), w.amongMany(t, crowd), w.jwt(t, parser), w.lists(t, parser, list), w.denyList(t, parser, crowd), w.network(t),
	)
}
