package forwardauth

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/test/system"
)

// behindAProxy is what holds behind every proxy.
func behindAProxy(t *testing.T, s *scene) {
	t.Run("a good credential reaches the backend as an identity", s.acceptsAndIdentifies)
	t.Run("refusals are those of a service with the verifier in it", s.refusesLikeTheVerifier)
	t.Run("the backend's own refusals pass", s.passesTheBackendsOwn)
	t.Run("public routes need nothing", s.letsPublicRoutesThrough)
	t.Run("spoofed identities never reach the backend", s.stripsSpoofedHeaders)
	t.Run("headers that steer are refused or gone", s.refusesSteeringHeaders)
	t.Run("nasty paths never reach the backend", s.refusesNastyPaths)
	t.Run("the backend sees the path that was judged", s.showsTheJudgedPath)
	t.Run("the backend sees the host that was judged", s.showsTheJudgedHost)
	t.Run("long requests have their identity", s.identifiesLongRequests)
	t.Run("many headers are refused or judged", s.survivesManyHeaders)
	t.Run("no request is smuggled", s.smugglesNothing)
	t.Run("a quota that is used up is 429", s.spendsQuotas)
	t.Run("a revoked credential dies", s.refusesWhatWasRevoked)
	t.Run("without the feed: 503", s.refusesWithoutTheFeed)
	t.Run("without the sidecar: 5xx, and nothing reaches the backend", s.refusesWithoutTheSidecar)
}

// ask sends a request through the proxy and returns the answer and what the backend saw.
func (s *scene) ask(t *testing.T, method, path, authorization string) (system.Answer, *sight) {
	t.Helper()
	s.backend.last()
	answer := s.proxy.Do(t, method, path, authorization, nil)
	return answer, s.backend.last()
}

func (s *scene) spendsQuotas(t *testing.T) {
	limit := map[string]any{"resource": "jobs", "limit": 2, "window": "744h"}
	s.auth.Must(t, 200, "PUT", "/v1/admin/plans", s.auth.Admin(t).Auth(), map[string]any{"plans": []any{map[string]any{"name": "free", "limits": []any{limit}}}})
	spender := s.auth.Register(t, "spender")
	for left := range 2 {
		answer, seen := s.ask(t, "POST", "/jobs", spender.Auth())
		if answer.Status != 200 || seen == nil || seen.Header.Get("Tocsin-Subject") != spender.ID || seen.Header.Get("RateLimit") != "" {
			t.Error(answer, seen)
		}
		if s.tells && (!strings.HasPrefix(answer.Header.Get("RateLimit"), `"jobs-2678400";r=`+string('1'-rune(left))) || answer.Header.Get("RateLimit-Policy") != `"jobs-2678400";q=2;w=2678400`) {
			t.Error(answer.Header)
		}
	}
	answer, seen := s.ask(t, "POST", "/jobs", spender.Auth())
	if answer.Status != 429 || answer.Code() != "quota_exceeded" || seen != nil || answer.Header.Get("Retry-After") == "" ||
		!strings.HasPrefix(answer.Header.Get("RateLimit"), `"jobs-2678400";r=0;t=`) || answer.Header.Get("RateLimit-Policy") != `"jobs-2678400";q=2;w=2678400` {
		t.Error(answer, answer.Header, seen)
	}
	if answer, _ = s.ask(t, "GET", "/v1/cars", spender.Auth()); answer.Status != 200 || answer.Header["Ratelimit"] != nil {
		t.Error("a route without a quota:", answer, answer.Header)
	}
}

func (s *scene) acceptsAndIdentifies(t *testing.T) {
	answer, seen := s.ask(t, "POST", "/v1/cars?x=1", s.user.Auth())
	if answer.Status != 200 || seen == nil {
		t.Fatal(answer, seen)
	}
	for name, want := range map[string]string{
		"Tocsin-Subject": s.user.ID, "Tocsin-Roles": "user", "Tocsin-Mode": "live", "Tocsin-Method": "bearer",
		"Tocsin-Session": s.user.Session, "Authorization": "", "Tocsin-Actor": "", "Tocsin-Key-Id": "", "Tocsin-Refusal": "",
	} {
		if got := strings.Join(seen.Header[name], "|"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	claims := s.identity(t, seen)
	if claims["htm"] != "POST" || claims["path"] != "/v1/cars" || claims["aud"] != "cars" || claims["sub"] != s.user.ID || claims["sid"] != s.user.Session {
		t.Errorf("claims %v", claims)
	}
	answer, seen = s.ask(t, "GET", "/v1/cars", system.Key(s.user.LiveKey))
	if answer.Status != 200 || seen == nil || seen.Header.Get("Tocsin-Method") != "api_key" || seen.Header.Get("Tocsin-Key-Id") != s.user.LiveKeyID || seen.Header["Tocsin-Session"] != nil {
		t.Error("key:", answer, seen)
	}
}

// refusesLikeTheVerifier sets each refusal beside resourcesvc's to the same credential.
func (s *scene) refusesLikeTheVerifier(t *testing.T) {
	service := system.StartResource(t, s.auth, nil)
	good := s.user.Auth()
	for name, c := range map[string]struct {
		authorization string
		status        int
		code          string
	}{
		"none":         {"", 401, "missing_credential"},
		"other scheme": {"Basic YTpi", 401, "missing_credential"},
		"two at once":  {good + ", " + good, 400, "invalid_request"},
		"no token":     {"Bearer", 400, "invalid_request"},
		"garbage":      {"Bearer x.y", 401, "malformed"},
		"bad":          {good[:len(good)-8] + "AAAAAAAA", 401, "invalid_token"},
		"other mode":   {system.Key(s.user.TestKey), 401, "wrong_mode"},
		"broken key":   {system.Key(s.user.LiveKey[:len(s.user.LiveKey)-1] + "!"), 401, "malformed"},
	} {
		got, seen := s.ask(t, "GET", "/v1/cars", c.authorization)
		want := service.Do(t, "GET", "/v1/whoami", c.authorization, nil)
		if got.Status != c.status || got.Code() != c.code || seen != nil {
			t.Errorf("%s: %v, want %d %s (backend: %v)", name, got, c.status, c.code, seen)
		}
		s.sameRefusal(t, name, got, want)
	}
	got, seen := s.ask(t, "GET", "/admin/users", good)
	if got.Status != 403 || got.Code() != "forbidden" || seen != nil || !slices.ContainsFunc(got.Header["Www-Authenticate"], func(line string) bool { return strings.Contains(line, `scope="admin"`) }) {
		t.Error("without the role:", got, got.Header, seen)
	}
	if got, seen := s.ask(t, "GET", "/nowhere", good); got.Status != 403 || got.Code() != "forbidden" || seen != nil {
		t.Error("no route:", got, seen)
	}
	if got, seen := s.ask(t, "DELETE", "/health", good); got.Status != 403 || seen != nil {
		t.Error("no route by its method:", got, seen)
	}
	if got, seen := s.ask(t, "GET", "/elite", good); got.Status != 200 || seen == nil {
		t.Error("elite:", got, seen)
	}
}

func (s *scene) sameRefusal(t *testing.T, name string, got, want system.Answer) {
	t.Helper()
	for _, header := range []string{"Www-Authenticate", "Retry-After", "Content-Type"} {
		if !slices.Equal(got.Header[header], want.Header[header]) {
			t.Errorf("%s: %s is %q, the verifier's is %q", name, header, got.Header[header], want.Header[header])
		}
	}
	if got.Status != want.Status || strings.TrimSpace(string(got.Body)) != strings.TrimSpace(string(want.Body)) {
		t.Errorf("%s: %v, the verifier says %v", name, got, want)
	}
}

func (s *scene) passesTheBackendsOwn(t *testing.T) {
	for path, status := range map[string]int{"/v1/forbidden": 403, "/v1/broken": 500} {
		got, seen := s.ask(t, "GET", path, s.user.Auth())
		if got.Status != status || seen == nil || !strings.Contains(string(got.Body), `"URI"`) {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func (s *scene) letsPublicRoutesThrough(t *testing.T) {
	got, seen := s.ask(t, "GET", "/health", s.user.Auth())
	if got.Status != 200 || seen == nil || seen.Header["Tocsin-Subject"] != nil || seen.Header["Tocsin-Identity"] != nil || seen.Header["Authorization"] != nil {
		t.Error(got, seen)
	}
}

func (s *scene) refusesWhatWasRevoked(t *testing.T) {
	u := s.auth.Register(t, "bob")
	s.proxy.Must(t, 200, "GET", "/v1/cars", u.Auth(), nil)
	s.auth.Must(t, 204, "POST", "/v1/logout?wait=fleet", u.Auth(), nil)
	got, seen := s.ask(t, "GET", "/v1/cars", u.Auth())
	if got.Status != 401 || got.Code() != "revoked" || seen != nil {
		t.Error(got, seen)
	}
	if lines := got.Header["Www-Authenticate"]; len(lines) != 2 {
		t.Errorf("challenges %q", lines)
	}
}

// refusesWithoutTheFeed: scenes have B = 10 s: less has to be waited for here, and a machine that stands still for less makes nothing stale elsewhere.
func (s *scene) refusesWithoutTheFeed(t *testing.T) {
	s.auth.Freeze(t)
	s.proxy.Eventually(t, "GET", "/v1/cars", s.user.Auth(), system.Status(503, "stale"))
	got, seen := s.ask(t, "GET", "/v1/cars", s.user.Auth())
	if got.Header.Get("Retry-After") != "1" || seen != nil {
		t.Error(got, got.Header, seen)
	}
	s.auth.Thaw()
	s.proxy.Eventually(t, "GET", "/v1/cars", s.user.Auth(), system.Status(200, ""))
}

func (s *scene) refusesWithoutTheSidecar(t *testing.T) {
	s.sidecar.Kill()
	got, seen := s.ask(t, "GET", "/v1/cars", s.user.Auth())
	if got.Status < 500 || seen != nil {
		t.Error(got, seen)
	}
	if got, seen := s.ask(t, "GET", "/health", ""); got.Status < 500 || seen != nil {
		t.Error(got, seen)
	}
	http.DefaultClient.CloseIdleConnections()
}
