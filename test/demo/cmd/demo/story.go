package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// story is one telling: who appears in it, and where it is printed.
type story struct {
	caller
	places
	out   io.Writer
	admin string // authorization of the admin
	user  person
}

// person is the user that the story is about.
type person struct {
	name, password, id string
	bearer             string // authorization by access token
	session            string
	liveKey            issuedKey
}

type issuedKey struct {
	ID   string `json:"id"`
	Mode string `json:"mode"`
	Key  string `json:"key"`
}

type tokens struct {
	AccessToken string `json:"access_token"`
	SessionID   string `json:"session_id"`
}

// tell runs every scene; the first that doesn't go as it should ends the story.
func tell(ctx context.Context, where places, out io.Writer) error {
	transport := &http.Transport{MaxIdleConnsPerHost: 8}
	defer transport.CloseIdleConnections()
	s := &story{caller: caller{&http.Client{Transport: transport, Timeout: time.Minute}}, places: where, out: out}
	for _, scene := range []struct {
		title string
		play  func(context.Context) error
	}{
		{"A user registers and gets two API keys at once", s.register},
		{"She logs in", s.logIn},
		{"She calls a service, which decides by itself", s.ordinary},
		{"A worker does her job, with her key", s.work},
		{"Critical calls are decided afresh by auth", s.elite},
		{"An administrator kills her sessions while she is calling", s.revoke},
		{"Her API key lives on, and she can log in again", s.liveOn},
		{"Her roles change without a new token", s.changeRoles},
		{"Her API key leaks and is replaced", s.rotateKey},
		{"The signing key is rotated under her feet", s.rotateSigningKey},
		{"She logs out", s.logOut},
	} {
		fmt.Fprintf(out, "\n%s\n", scene.title)
		if err := scene.play(ctx); err != nil {
			return fmt.Errorf("%s: %w", strings.ToLower(scene.title[:1])+scene.title[1:], err)
		}
	}
	fmt.Fprintln(out, "\nThe end: everything went as it should.")
	return nil
}

// say prints one step and the time that it took.
func (s *story) say(took time.Duration, format string, args ...any) {
	fmt.Fprintf(s.out, "  %9.2f ms  %s\n", float64(took.Microseconds())/1000, fmt.Sprintf(format, args...))
}

func (s *story) register(ctx context.Context) error {
	suffix := strings.ToLower(rand.Text()[:8])
	s.user = person{name: "demo-" + suffix, password: "a long pass phrase " + suffix}
	r, err := s.call(ctx, "POST", s.auth+"/v1/register", "", map[string]string{"username": s.user.name, "password": s.user.password})
	if err != nil {
		return err
	}
	got, err := decode[struct {
		User struct{ ID string }
		Keys []issuedKey `json:"api_keys"`
	}](r, http.StatusCreated)
	if err != nil {
		return err
	}
	s.user.id = got.User.ID
	for _, k := range got.Keys {
		if k.Mode == "live" {
			s.user.liveKey = k
		}
	}
	s.say(r.took, "POST /v1/register → 201, user %s with %d keys", s.user.name, len(got.Keys))
	return nil
}

func (s *story) logIn(ctx context.Context) error {
	got, took, err := s.login(ctx, s.user.name, s.user.password)
	if err != nil {
		return err
	}
	s.user.bearer, s.user.session = "Bearer "+got.AccessToken, got.SessionID
	s.say(took, "POST /v1/login → 200 (argon2id is meant to be slow)")
	return nil
}

func (s *story) login(ctx context.Context, name, password string) (tokens, time.Duration, error) {
	r, err := s.call(ctx, "POST", s.auth+"/v1/login", "", map[string]string{"username": name, "password": password})
	if err != nil {
		return tokens{}, 0, err
	}
	got, err := decode[tokens](r, http.StatusOK)
	return got, r.took, err
}

func (s *story) ordinary(ctx context.Context) error {
	r, err := s.expect(ctx, "GET", s.resource+"/v1/whoami", s.user.bearer, nil, http.StatusOK)
	if err != nil {
		return err
	}
	s.say(r.took, "GET /v1/whoami → 200, the token's first use: its signature is checked")
	median, err := s.median(ctx, s.resource+"/v1/whoami", s.user.bearer)
	if err != nil {
		return err
	}
	s.say(median, "GET /v1/whoami → 200, median of %d: no call to auth, HTTP is most of it", repeats)
	r, err = s.expect(ctx, "GET", s.resource+"/v1/whoami", "Api-Key "+s.user.liveKey.Key, nil, http.StatusOK)
	if err != nil {
		return err
	}
	s.say(r.took, "GET /v1/whoami → 200, by API key, first use: resolved by auth once")
	job := map[string]any{"job_id": "demo", "payload": map[string]string{"prompt": "draw a bell"}}
	r, err = s.expect(ctx, "POST", s.resource+"/v1/ai/jobs", "Api-Key "+s.user.liveKey.Key, job, http.StatusAccepted)
	if err != nil {
		return err
	}
	s.say(r.took, "POST /v1/ai/jobs → 202, by API key: the job belongs to its user")
	return nil
}

func (s *story) elite(ctx context.Context) error {
	median, err := s.median(ctx, s.resource+"/v1/whoami/elite", s.user.bearer)
	if err != nil {
		return err
	}
	s.say(median, "GET /v1/whoami/elite → 200, median of %d: a signed answer from auth's database", repeats)
	r, err := s.expect(ctx, "POST", s.resource+"/v1/cars", s.user.bearer,
		map[string]any{"make": "Citroën", "model": "2CV", "year": 1970, "price": 8500}, http.StatusCreated)
	if err != nil {
		return err
	}
	s.say(r.took, "POST /v1/cars → 201")
	car, err := decode[struct{ ID string }](r, http.StatusCreated)
	if err != nil {
		return err
	}
	r, err = s.expect(ctx, "POST", s.resource+"/v1/cars/"+car.ID+"/purchase", s.user.bearer, nil, http.StatusOK)
	if err != nil {
		return err
	}
	s.say(r.took, "POST /v1/cars/{id}/purchase → 200, elite")
	return nil
}

func (s *story) revoke(ctx context.Context) error {
	got, _, err := s.login(ctx, "admin", s.adminPassword)
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	s.admin = "Bearer " + got.AccessToken
	return s.killWhileCalling(ctx, "/v1/admin/users/"+s.user.id+"/revoke", s.admin)
}

func (s *story) liveOn(ctx context.Context) error {
	r, err := s.expect(ctx, "GET", s.resource+"/v1/whoami", "Api-Key "+s.user.liveKey.Key, nil, http.StatusOK)
	if err != nil {
		return err
	}
	s.say(r.took, "GET /v1/whoami → 200, by API key")
	return s.logIn(ctx)
}

func (s *story) changeRoles(ctx context.Context) error {
	began := time.Now()
	r, err := s.expect(ctx, "PUT", s.auth+"/v1/admin/users/"+s.user.id+"/roles", s.admin,
		map[string]any{"roles": []string{"user", "dealer"}}, http.StatusOK)
	if err != nil {
		return err
	}
	s.say(r.took, "PUT /v1/admin/users/{id}/roles → 200")
	took, err := s.until(ctx, began, s.user.bearer, func(r reply) bool {
		got, err := decode[struct{ Roles []string }](r, http.StatusOK)
		return err == nil && slices.Contains(got.Roles, "dealer")
	})
	if err != nil {
		return err
	}
	s.say(took, "from the call until the service sees the new role, with the old token")
	return nil
}

func (s *story) rotateKey(ctx context.Context) error {
	old := s.user.liveKey
	r, err := s.expect(ctx, "POST", s.auth+"/v1/me/api-keys/"+old.ID+"/rotate?wait=fleet&timeout=1s", s.user.bearer,
		map[string]string{"overlap": "0s"}, http.StatusOK)
	if err != nil {
		return err
	}
	got, err := decode[struct {
		Key issuedKey `json:"api_key"`
	}](r, http.StatusOK)
	if err != nil {
		return err
	}
	s.user.liveKey = got.Key
	s.say(r.took, "POST /v1/me/api-keys/{id}/rotate → 200, %s", s.fleet(r))
	if r, err = s.expect(ctx, "GET", s.resource+"/v1/whoami", "Api-Key "+old.Key, nil, http.StatusUnauthorized); err != nil {
		return err
	}
	s.say(r.took, "GET /v1/whoami → 401 %s, with the old key", r.code())
	if r, err = s.expect(ctx, "GET", s.resource+"/v1/whoami", "Api-Key "+got.Key.Key, nil, http.StatusOK); err != nil {
		return err
	}
	s.say(r.took, "GET /v1/whoami → 200, with the new key")
	return nil
}

func (s *story) rotateSigningKey(ctx context.Context) error {
	r, err := s.expect(ctx, "POST", s.auth+"/v1/admin/signing-keys/rotate?wait=fleet&timeout=1s", s.admin, map[string]any{}, http.StatusOK)
	if err != nil {
		return err
	}
	s.say(r.took, "POST /v1/admin/signing-keys/rotate → 200, %s", s.fleet(r))
	if r, err = s.expect(ctx, "GET", s.resource+"/v1/whoami", s.user.bearer, nil, http.StatusOK); err != nil {
		return err
	}
	s.say(r.took, "GET /v1/whoami → 200: nobody was logged out")
	return nil
}

func (s *story) logOut(ctx context.Context) error {
	return s.killWhileCalling(ctx, "/v1/logout", s.user.bearer)
}

// fleet tells in words what a receipt says of the verifiers.
func (s *story) fleet(r reply) string {
	var got struct {
		Fleet struct {
			Applied int
			Total   *int
		}
	}
	if json.Unmarshal([]byte(r.receipt), &got) != nil || got.Fleet.Total == nil {
		return "the fleet is not all known yet"
	}
	return fmt.Sprintf("applied by %d of %d verifiers", got.Fleet.Applied, *got.Fleet.Total)
}
