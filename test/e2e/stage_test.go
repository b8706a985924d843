package e2e

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/test/system"
)

// stage is one user with two sessions and a key, at running services, on which a path is walked.
type stage struct {
	*world
	t       *testing.T
	user    system.User      // by session A
	b       system.User      // the same by session B
	spent   string           // a refresh token of session B that was used
	service *system.Resource // that a row shuts out
	worker  system.User
	*offspring
}

// world is what all rows on one engine share.
type world struct {
	auth     *system.Auth
	resource *system.Resource
	wire     *wire
	used     *usage
	walked   int // rows
	root     system.User
}

func (w *world) stage(t *testing.T, name string) *stage {
	t.Helper()
	s := &stage{world: w, t: t, user: w.auth.Register(t, name)}
	s.b = s.user
	w.auth.Login(t, &s.b)
	return s
}

// admin returns the admin's Authorization header, by a new session when a row has ended the old one.
func (s *stage) admin() string {
	if s.root.Token == "" || s.auth.Do(s.t, "GET", "/v1/me", s.root.Auth(), nil).Status != http.StatusOK {
		s.root = s.auth.Admin(s.t)
	}
	return s.root.Auth()
}

func (s *stage) key() string { return system.Key(s.user.LiveKey) }

// jti reads the id of an access token.
func (s *stage) jti(token string) string {
	s.t.Helper()
	parts := strings.Split(token, ".")
	var claims struct {
		ID string `json:"jti"`
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(body, &claims)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return claims.ID
}

// names replaces ids by what rows call them.
func (s *stage) names() *strings.Replacer {
	return strings.NewReplacer(s.user.ID, "U", s.user.Session, "A", s.b.Session, "B", s.user.LiveKeyID, "KEY",
		s.jti(s.user.Token), "JTI", s.jti(s.b.Token), "JTI-B", s.jti(s.ofA["exchanged"]), "DERIVED", s.jti(s.grantOfA), "GRANT")
}

// credentials are what the resource service is asked with, by the names that rows give them.
func (s *stage) credentials() [][2]string {
	return [][2]string{{"a", s.user.Auth()}, {"b", s.b.Auth()}, {"key", s.key()}}
}

// accepted names the credentials that a route accepts.
func (s *stage) accepted(route string) (alive []string) {
	s.t.Helper()
	for _, c := range s.credentials() {
		if s.resource.Do(s.t, "GET", route, c[1], nil).Status == http.StatusOK {
			alive = append(alive, c[0])
		}
	}
	return alive
}

// living names what the resource service accepts of the user's credentials, on the ordinary and the elite route alike.
// roles are what it sees where one is accepted.
func (s *stage) living() (alive []string, roles []string) {
	s.t.Helper()
	for _, c := range s.credentials() {
		ordinary := s.resource.Do(s.t, "GET", "/v1/whoami", c[1], nil)
		elite := s.resource.Do(s.t, "GET", "/v1/whoami/elite", c[1], nil)
		if ordinary.Status != elite.Status {
			s.t.Errorf("%s: the ordinary route says %v, the elite route %v", c[0], ordinary, elite)
		}
		switch ordinary.Status {
		case http.StatusUnauthorized:
		case http.StatusOK:
			alive = append(alive, c[0])
			roles = append(roles, s.roles(ordinary), s.roles(elite))
		default:
			s.t.Errorf("%s: %v", c[0], ordinary)
		}
	}
	slices.Sort(roles)
	return alive, slices.Compact(roles)
}

func (s *stage) roles(a system.Answer) string {
	var who whoami
	a.Into(s.t, &who)
	return strings.Join(who.Roles, ",")
}

// refreshing names the sessions whose refresh token still works. It uses the tokens up.
func (s *stage) refreshing() (alive []string) {
	s.t.Helper()
	for _, c := range [][2]string{{"ra", s.user.RefreshToken}, {"rb", s.b.RefreshToken}} {
		got := s.auth.Do(s.t, "POST", "/v1/token/refresh", "", map[string]any{"refresh_token": c[1]})
		switch {
		case got.Status == http.StatusOK:
			alive = append(alive, c[0])
		case got.Code() != "invalid_refresh_token":
			s.t.Errorf("%s: %v", c[0], got)
		}
	}
	return alive
}

// call makes one call of an operation of the API's document, such as "DELETE /v1/me/sessions/{id}", and notes that it and
// the properties of its body were used. It returns the answer to a call that has waited for the whole fleet.
func (s *stage) call(operation, by, id string, body map[string]any) system.Answer {
	s.t.Helper()
	s.used.operation(operation, body)
	method, template, _ := strings.Cut(operation, " ")
	target := strings.NewReplacer("{id}", id, "{name}", id).Replace(template)
	if !withoutReceipt[operation] {
		target += "?wait=fleet&timeout=30s"
	}
	var a system.Answer
	if strings.HasPrefix(template, "/oauth2/") {
		a = s.form(target, by, body)
	} else {
		var content any
		if body != nil {
			content = body
		}
		a = s.auth.Do(s.t, method, target, by, content)
	}
	return a
}

// withoutReceipt are the operations that end trust and have no wait and no receipt.
var withoutReceipt = map[string]bool{
	"POST /v1/login":                   true,
	"POST /v1/token/refresh":           true,
	"POST /oauth2/token":               true,
	"POST /v1/job-grants/spent":        true, // no verifier is told
	"DELETE /v1/admin/services/{name}": true,
}

// must is call for one that has to succeed, with a receipt that names the whole fleet.
func (s *stage) must(operation, by, id string, body map[string]any) system.Answer {
	s.t.Helper()
	a := s.call(operation, by, id, body)
	if a.Status < 200 || a.Status > 299 {
		s.t.Fatalf("%s: %v", operation, a)
	}
	if withoutReceipt[operation] {
		return a
	}
	r := a.Receipt(s.t)
	if !r.Published || r.Fleet == nil || r.Fleet.Total == nil || r.Fleet.Applied != *r.Fleet.Total || r.Fleet.Applied == 0 {
		s.t.Errorf("%s: receipt %s", operation, a.Header.Get("Tocsin-Receipt"))
	}
	return a
}

func (s *stage) form(target, by string, fields map[string]any) system.Answer {
	s.t.Helper()
	values := url.Values{}
	for name, value := range fields {
		values.Set(name, value.(string))
	}
	return s.auth.Do(s.t, "POST", target, by, values)
}

// authctl runs a command, as the admin or the user, and notes that it and its flags were used.
func (s *stage) authctl(token string, args ...string) string {
	s.t.Helper()
	s.used.command(args)
	if !slices.Contains(args, "services") {
		args = append(args, "--wait=fleet", "--timeout=30s")
	}
	exit, out := system.Run(s.t, "authctl", map[string]string{"TOCSIN_URL": s.auth.Base,
		"TOCSIN_TOKEN": strings.TrimPrefix(token, "Bearer "), "XDG_CONFIG_HOME": s.t.TempDir()}, args...)
	if exit != 0 {
		s.t.Fatalf("authctl %v: exit %d: %s", args, exit, out)
	}
	return out
}

// audited returns the event ids that the newest audit row of an action about this stage's world names.
func (s *stage) audited(action string) (events []string, found bool) {
	s.t.Helper()
	var rows struct {
		Items []struct {
			Actor, Action, Target string
			Detail                struct {
				Events []string `json:"events"`
			}
		} `json:"items"`
	}
	s.auth.Must(s.t, 200, "GET", "/v1/admin/audit?limit=20", s.admin(), nil).Into(s.t, &rows)
	for _, row := range rows.Items {
		if row.Action == action {
			if row.Actor == "" || row.Target == "" {
				s.t.Errorf("audit row %+v", row)
			}
			return row.Detail.Events, true
		}
	}
	return nil, false
}

// listed returns the newest events that GET /v1/admin/revocations shows.
func (s *stage) listed() (ids []string) {
	s.t.Helper()
	var rows struct {
		Items []struct {
			ID string `json:"event_id"`
		} `json:"items"`
	}
	s.auth.Must(s.t, 200, "GET", "/v1/admin/revocations?limit=20", s.admin(), nil).Into(s.t, &rows)
	for _, row := range rows.Items {
		ids = append(ids, row.ID)
	}
	return ids
}

// file writes a secret where a command can read it.
func (s *stage) file(content string) string {
	s.t.Helper()
	name := filepath.Join(s.t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return name
}
