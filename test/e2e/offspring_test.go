package e2e

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tocsin-auth/tocsin/test/system"
)

// offspring is what was derived from session A's access token and from the user's key: tokens by what they are, and the job
// grants that some of them are of. Each is to die with what it was derived from, on every path.
type offspring struct {
	ofA, ofKey           map[string]string
	grantOfA, grantOfKey string
}

const job = "job-1"

// The parameters of the token endpoint.
const (
	tokenEndpoint = "POST /oauth2/token"
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessToken   = "urn:ietf:params:oauth:token-type:access_token"
	jobGrant      = "urn:tocsin:token-type:job-grant"
	apiKey        = "urn:tocsin:token-type:api-key"
)

func exchange(subject, kind string) map[string]any {
	return map[string]any{"grant_type": exchangeGrant, "subject_token": subject, "subject_token_type": kind}
}

func forJob(x map[string]any, more ...string) map[string]any {
	x["job_id"] = job
	for _, kind := range more {
		x["requested_token_type"] = kind
	}
	return x
}

// issued asks the token endpoint as a client.
func (s *stage) issued(client string, fields map[string]any) string {
	s.t.Helper()
	var got struct {
		AccessToken string `json:"access_token"`
	}
	s.must(tokenEndpoint, client, "", fields).Into(s.t, &got)
	return got.AccessToken
}

// derive hires a worker, and derives in every way that there is. In one the user's key is the actor's, for the worker.
func (s *stage) derive() {
	s.t.Helper()
	s.worker = s.auth.Register(s.t, "worker-"+s.user.Name)
	s.auth.Must(s.t, 200, "PUT", path("/v1/admin/users/%s/roles?wait=fleet&timeout=30s", s.worker.ID), s.admin(), map[string]any{"roles": []string{"user", "queue", "worker"}})
	worker, key := system.Key(s.worker.LiveKey), s.key()
	o := &offspring{
		grantOfA:   s.issued(worker, forJob(exchange(s.user.Token, accessToken), jobGrant)),
		grantOfKey: s.issued(worker, forJob(exchange(s.user.LiveKey, apiKey), jobGrant)),
	}
	o.ofA = map[string]string{
		"exchanged": s.issued(worker, exchange(s.user.Token, accessToken)),
		"granted":   s.issued(worker, forJob(exchange(o.grantOfA, jobGrant))),
	}
	o.ofKey = map[string]string{
		"granted by key":    s.issued(worker, forJob(exchange(o.grantOfKey, jobGrant))),
		"the key's own":     s.issued(key, map[string]any{"grant_type": "client_credentials"}),
		"acting by the key": s.issued(key, exchange(s.worker.Token, accessToken)),
	}
	s.offspring = o
	s.wantOffspring(true, true)
}

// checkOffspring compares what lives with what the row says of what it was derived from. Tokens of the key are the user's, too:
// where no token of either session lives, theirs don't.
func (s *stage) checkOffspring(living string) {
	s.t.Helper()
	alive := strings.Fields(living)
	tokens := slices.Contains(alive, "a") || slices.Contains(alive, "b")
	s.wantOffspring(slices.Contains(alive, "a"), tokens && slices.Contains(alive, "key"))
}

func (s *stage) wantOffspring(ofA, ofKey bool) {
	s.t.Helper()
	for _, c := range []struct {
		tokens map[string]string
		grant  string
		alive  bool
	}{{s.offspring.ofA, s.offspring.grantOfA, ofA}, {s.offspring.ofKey, s.offspring.grantOfKey, ofKey}} {
		for _, name := range slices.Sorted(maps.Keys(c.tokens)) {
			s.wantAlive(name, c.tokens[name], c.alive)
		}
		got := s.call(tokenEndpoint, system.Key(s.worker.LiveKey), "", forJob(exchange(c.grant, jobGrant)))
		dead := got.Status == http.StatusBadRequest && got.OAuthError(s.t) == "invalid_grant" ||
			got.Status == http.StatusUnauthorized && got.OAuthError(s.t) == "invalid_client" // the worker's key has ended as well
		if c.alive != (got.Status == http.StatusOK) || !c.alive && !dead {
			s.t.Errorf("a job grant of what is alive: %v: %v", c.alive, got)
		}
	}
}

// wantAlive asks the resource service with a token, on both kinds of route.
func (s *stage) wantAlive(name, token string, alive bool) {
	s.t.Helper()
	want := http.StatusUnauthorized
	if alive {
		want = http.StatusOK
	}
	for _, route := range []string{"/v1/whoami", "/v1/whoami/elite"} {
		if got := s.resource.Do(s.t, "GET", route, system.Bearer(token), nil); got.Status != want {
			s.t.Errorf("%s: %s: %v, want %d", name, route, got, want)
		}
	}
}

// endedOneByOne are rows about derived tokens and job grants themselves.
func endedOneByOne() []ending {
	derivedJTI := func(s *stage) string { return s.offspring.ofA["exchanged"] }
	rest := func(gone ...string) func(s *stage) {
		return func(s *stage) {
			for name, token := range s.offspring.ofA {
				s.wantAlive(name, token, !slices.Contains(gone, name))
			}
		}
	}
	return []ending{
		{name: "an exchanged token is revoked by its holder", itself: true, audit: "token.revoked", living: all, events: []string{"token.revoked jti DERIVED"},
			act: func(s *stage) {
				s.must("POST /oauth2/revoke", system.Key(s.worker.LiveKey), "", map[string]any{"token": derivedJTI(s)})
			},
			check: rest("exchanged")},
		{name: "an exchanged token is revoked by its id", itself: true, audit: "revocation.jti", living: all, events: []string{"token.revoked jti DERIVED"},
			act: byAdmin(revoke, of("jti", func(s *stage) any { return s.jti(derivedJTI(s)) })), check: rest("exchanged")},
		{name: "a job grant is revoked by its holder", itself: true, audit: "token.revoked", living: all, events: []string{"token.revoked jti GRANT"},
			act: func(s *stage) {
				s.must("POST /oauth2/revoke", system.Key(s.worker.LiveKey), "", map[string]any{"token": s.offspring.grantOfA})
			}, check: func(s *stage) { rest("granted")(s); s.refusedGrant() }},
		{name: "a job grant is spent", itself: true, audit: "job_grant.spent", living: all,
			act: func(s *stage) {
				s.must("POST /v1/job-grants/spent", system.Key(s.worker.LiveKey), "", map[string]any{"job_grants": []string{s.offspring.grantOfA}})
			}, check: func(s *stage) { rest()(s); s.refusedGrant() }},
		{name: "a job grant is revoked as a token", itself: true, audit: "revocation.token", living: all, events: []string{"token.revoked jti GRANT"},
			act: byAdmin(revoke, of("token", func(s *stage) any { return s.offspring.grantOfA })), check: func(s *stage) { rest("granted")(s); s.refusedGrant() }},
	}
}

func (s *stage) refusedGrant() {
	s.t.Helper()
	got := s.call(tokenEndpoint, system.Key(s.worker.LiveKey), "", forJob(exchange(s.offspring.grantOfA, jobGrant)))
	if got.Status != http.StatusBadRequest || got.OAuthError(s.t) != "invalid_grant" {
		s.t.Errorf("the grant that was ended: %v", got)
	}
}
