package e2e

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

// stream is an open event stream, which is read all the time.
type stream struct {
	done chan struct{} // closed when it has ended

	mu     sync.Mutex
	events []string // ids
	ended  time.Time
	err    error
}

// openStream returns when the service has said that it tells new cars from now on. It asks again when the service isn't fresh.
func openStream(t *testing.T, r *system.Resource, authorization string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	transport := &http.Transport{} // without the time-out of other calls
	var res *http.Response
	machine.Await(t, "an event stream", func() bool {
		q, err := http.NewRequestWithContext(ctx, "GET", r.Base+"/v1/cars/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", authorization)
		if res, err = transport.RoundTrip(q); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode == http.StatusOK {
			return true
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusServiceUnavailable {
			t.Fatal(res.Status)
		}
		return false
	})
	lines := bufio.NewReader(res.Body)
	if first, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(first, ":") {
		t.Fatal(first, err)
	}
	s := &stream{done: make(chan struct{})}
	go s.read(lines)
	t.Cleanup(func() {
		cancel()
		<-s.done
		_ = res.Body.Close()
		transport.CloseIdleConnections()
	})
	return s
}

func (s *stream) read(lines *bufio.Reader) {
	defer close(s.done)
	for {
		line, err := lines.ReadString('\n')
		s.mu.Lock()
		if err != nil {
			s.ended, s.err = time.Now(), err
			s.mu.Unlock()
			return
		}
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			s.events = append(s.events, strings.TrimSpace(id))
		}
		s.mu.Unlock()
	}
}

func (s *stream) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

// waitFor fails unless the stream tells a car.
func (s *stream) waitFor(t *testing.T, id string) {
	t.Helper()
	machine.Await(t, "word of the car "+id, func() bool { return slices.Contains(s.told(), id) })
}

// follow opens a stream of a service whose B is so small that it may be cut on a slow machine, and returns one that tells what
// happens.
func follow(t *testing.T, r *system.Resource, authorization string, happens func() (car string)) (s *stream) {
	t.Helper()
	machine.Await(t, "a stream that tells something", func() bool {
		s = openStream(t, r, authorization)
		car := happens()
		machine.Await(t, "word of the car "+car+", or the stream's end", func() bool { return slices.Contains(s.told(), car) || s.hasEnded() })
		return !s.hasEnded()
	})
	return s
}

func (s *stream) hasEnded() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// waitEnd returns when the stream ended.
func (s *stream) waitEnd(t *testing.T) time.Time {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(machine.Patience):
		t.Fatal("the stream goes on")
	}
	return s.ended
}

func addCar(t *testing.T, r *system.Resource, authorization string) string {
	t.Helper()
	var made struct{ ID string }
	body := map[string]any{"make": "VW", "model": "Golf", "price": 1500}
	r.Must(t, 201, "POST", "/v1/cars", authorization, body).Into(t, &made)
	return made.ID
}

// pollFor is how long a poll waits: longer than B is, so that a proof alone would end it, too, and late.
const pollFor = 45 * time.Second

// poll begins a long poll for a job that stays as it is, and returns where its answer will come.
func poll(t *testing.T, r *system.Resource, authorization, job string) <-chan polled {
	t.Helper()
	machine.Await(t, "a job", func() bool {
		got, err := r.Try(t.Context(), "POST", "/v1/ai/jobs", authorization, map[string]any{"job_id": job, "payload": 1})
		if err != nil || got.Status != http.StatusAccepted && got.Status != http.StatusServiceUnavailable {
			t.Fatal(got, err)
		}
		return got.Status == http.StatusAccepted
	})
	result := make(chan polled, 1)
	go func() {
		got, err := r.Try(t.Context(), "GET", "/v1/ai/jobs/"+job+"?wait="+pollFor.String(), authorization, nil)
		result <- polled{got, err, time.Now()}
	}()
	machine.Await(t, "the poll's begin, or end", func() bool { return longAnswers(t, r) > 0 || len(result) > 0 })
	return result
}

type polled struct {
	system.Answer
	err error
	at  time.Time
}

// longAnswers is how many the service's verifier knows.
func longAnswers(t *testing.T, r *system.Resource) int {
	t.Helper()
	var s struct {
		LongAnswers int `json:"long_answers"`
	}
	r.Must(t, 200, "GET", "/v1/verifier", "", nil).Into(t, &s)
	return s.LongAnswers
}

// promptly is by how much an end may be later than its cause on a machine that runs: normally it takes less than a millisecond. It
// is little beside the bound of 30 s and the time that a poll waits, and so tells a watch that works from those.
const promptly = 5 * time.Second

func TestBoundedAcceptanceLongAnswersEndWithTheirCredential(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		admin, other := a.Admin(t), a.Register(t, "otto")
		for name, end := range map[string]func(u system.User) (credential, path string, body any){
			"token": func(u system.User) (string, string, any) {
				return u.Auth(), "/v1/admin/revocations", map[string]any{"token": u.Token}
			},
			"key": func(u system.User) (string, string, any) {
				return system.Key(u.LiveKey), "/v1/admin/revocations", map[string]any{"api_key_id": u.LiveKeyID}
			},
		} {
			t.Run(name, func(t *testing.T) {
				u := a.Register(t, "vera-"+name)
				credential, path, body := end(u)
				answer := poll(t, r, credential, "job-"+name)
				s, goesOn := openStream(t, r, credential), openStream(t, r, other.Auth())
				s.waitFor(t, addCar(t, r, other.Auth()))

				beat := machine.Listen()
				a.Must(t, 200, "POST", path+"?wait=fleet&timeout=30s", admin.Auth(), body)
				returned := time.Now()
				car := addCar(t, r, other.Auth())
				goesOn.waitFor(t, car)
				late := s.waitEnd(t).Sub(returned)
				got := <-answer
				stood := beat.Stop()
				t.Logf("after the call had returned: the stream ended %v later, the poll %v", late, got.at.Sub(returned))
				if limit := promptly + stood; late > limit || got.at.Sub(returned) > limit {
					t.Error("that is too late")
				}
				if got.err != nil || !revoked(got.Answer) || len(got.Header["Www-Authenticate"]) == 0 {
					t.Errorf("the poll: %v, %v", got.Answer, got.err)
				}
				if s.err != io.EOF {
					t.Errorf("the stream was torn: %v", s.err)
				}
				if told := s.told(); told[len(told)-1] == car {
					t.Error("a car that was added after the call had returned was told")
				}
			})
		}
	})
}

func TestBoundedAcceptanceLongAnswersEndWithoutProof(t *testing.T) {
	a := system.StartAuth(t, nil)
	u := a.Register(t, "wanda")
	r := system.StartResource(t, a, map[string]string{"TOCSIN_MAX_STALENESS": "1s"})
	answer := poll(t, r, system.Key(u.LiveKey), "j")
	s := openStream(t, r, u.Auth())

	beat := machine.Listen()
	a.Freeze(t)
	stopped := time.Now()
	ended := s.waitEnd(t).Sub(stopped)
	got := <-answer
	a.Thaw()
	stood := beat.Stop()
	t.Logf("after authsvc had stopped: the stream ended %v later, the poll %v", ended, got.at.Sub(stopped))
	if limit := time.Second + promptly + stood; ended > limit || got.at.Sub(stopped) > limit {
		t.Error("that is more than the bound of 1s")
	}
	if !stale(got.Answer) {
		t.Errorf("the poll: %v", got.Answer)
	}
}

func TestBoundedAcceptanceNothingIsStreamedAfterAThaw(t *testing.T) {
	a := system.StartAuth(t, nil)
	admin, other := a.Admin(t), a.Register(t, "xaver")
	shared := map[string]string{"TOCSIN_DATABASE_URL": "sqlite:" + filepath.Join(t.TempDir(), "resource.db")}
	shop := system.StartResource(t, a, shared)
	shared["TOCSIN_MAX_STALENESS"] = "1s"
	r := system.StartResource(t, a, shared)
	for _, name := range []string{"yann", "zoe", "aaron", "berta", "carl"} {
		u := a.Register(t, name)
		add := func() string { return addCar(t, shop, other.Auth()) }
		streams := []*stream{follow(t, r, u.Auth(), add), follow(t, r, system.Key(u.LiveKey), add)}
		r.Freeze(t)
		for _, end := range []map[string]any{{"token": u.Token}, {"api_key_id": u.LiveKeyID}} {
			a.Must(t, 200, "POST", "/v1/admin/revocations", admin.Auth(), end)
		}
		returned := time.Now()
		var later []string
		for range 20 {
			later = append(later, add())
		}
		time.Sleep(time.Until(returned.Add(1200 * time.Millisecond))) // the freeze has to outlast the bound in real time
		r.Thaw()
		for _, s := range streams {
			s.waitEnd(t)
			for _, told := range s.told() {
				if slices.Contains(later, told) {
					t.Errorf("%s: a car that was added after the revocation was told after the thaw", name)
				}
			}
		}
		r.Eventually(t, "GET", "/v1/whoami", other.Auth(), system.Status(200, ""))
	}
}

func TestOpenLongAnswersDoNotHoldUpAStop(t *testing.T) {
	a := system.StartAuth(t, nil)
	u := a.Register(t, "dora")
	r := system.StartResource(t, a, nil)
	answer := poll(t, r, u.Auth(), "j")
	s := openStream(t, r, u.Auth())
	beat := machine.Listen()
	code := r.Stop(t)
	stood := beat.Stop()
	s.waitEnd(t)
	got := <-answer
	if got.Status != 200 {
		t.Errorf("the poll: %v, %v", got.Answer, got.err)
	}
	if lasted := got.at.Sub(got.Began); code != 0 || lasted >= pollFor && stood < machine.Stall {
		t.Errorf("exit %d, and the poll was answered after %v", code, lasted)
	}
}
