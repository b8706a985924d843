package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// serveImpatiently runs a service with time-outs that are shorter than its long answers.
func (s service) serveImpatiently() *httptest.Server {
	server := httptest.NewUnstartedServer(s.h)
	server.Config.ReadTimeout, server.Config.WriteTimeout = impatience, impatience
	server.Start()
	s.t.Cleanup(server.Close)
	return server
}

const impatience = 100 * time.Millisecond

// open begins a request whose answer is read by the test.
func open(ctx context.Context, t *testing.T, server *httptest.Server, path string) io.Reader {
	t.Helper()
	q, err := http.NewRequestWithContext(ctx, "GET", server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("User", alice)
	res, err := server.Client().Do(q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	return res.Body
}

// nextEvent returns the fields of the next message of an event stream, comments included.
func nextEvent(t *testing.T, stream *bufio.Reader) map[string]string {
	t.Helper()
	event := map[string]string{}
	for {
		line, err := stream.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\n" {
			return event
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		event[name] = value
	}
}

func TestNewCarsAreStreamedOnceAndInOrder(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		s.create(bob, golf) // before the stream: not new
		stream := bufio.NewReader(open(t.Context(), t, s.serveImpatiently(), "/v1/cars/events"))
		if first := nextEvent(t, stream); first[""] != "from now on" {
			t.Errorf("it begins with %v", first)
		}
		for began := time.Now(); time.Since(began) < 4*impatience; { // longer than the server's time-outs
			made := s.create(bob, golf)
			event := nextEvent(t, stream)
			if told := decode[car](t, event["data"]); event["event"] != "car" || event["id"] != made.ID || told.Owner != bob {
				t.Fatalf("told %v, want %s", event, made.ID)
			}
		}
	})
}

func TestACarThatAppearsLateIsToldAllTheSame(t *testing.T) {
	s := newService(t, "sqlite:"+t.TempDir()+"/late.db", fakeGuard{})
	stream := bufio.NewReader(open(t.Context(), t, s.serveImpatiently(), "/v1/cars/events"))
	nextEvent(t, stream)
	made := s.create(bob, golf)
	nextEvent(t, stream)
	late := firstID(time.Now().Add(-overlap / 2)) // got its id long before the last one, commits after it
	if _, err := s.store.db.ExecContext(t.Context(), `INSERT INTO cars (id, owner, make, model, price, created_at)
		SELECT $1, owner, make, model, price, created_at FROM cars WHERE id = $2`, late, made.ID); err != nil {
		t.Fatal(err)
	}
	if event := nextEvent(t, stream); event["id"] != late {
		t.Errorf("told %v, want %s", event, late)
	}
}

func TestAStreamThatIsTooFarBehindIsEnded(t *testing.T) {
	s := newService(t, "sqlite:"+t.TempDir()+"/behind.db", fakeGuard{})
	slow, leave, err := s.room.join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	for range backlog + 1 {
		s.create(bob, golf)
	}
	s.room.tell(t.Context())
	n := 0
	for range slow {
		n++
	}
	if n != backlog {
		t.Errorf("%d cars before the end", n)
	}
}

func TestAJobIsAwaitedUntilItsStatusChanges(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		s.do(alice, "POST", "/v1/ai/jobs", `{"job_id":"j","payload":1}`)
		server := s.serveImpatiently()
		began := time.Now()
		body, err := io.ReadAll(open(t.Context(), t, server, "/v1/ai/jobs/j?wait=400ms"))
		if took := time.Since(began); err != nil || !strings.Contains(string(body), "queued") || took < 400*time.Millisecond {
			t.Errorf("nothing changed: %s after %v, %v", body, took, err)
		}
		answered := make(chan string, 1)
		go func() { answered <- s.do(alice, "GET", "/v1/ai/jobs/j?wait=50s", "").body }()
		if _, err := s.store.db.ExecContext(t.Context(), `UPDATE ai_jobs SET status = 'done', result = '2'`); err != nil {
			t.Fatal(err)
		}
		want := `{"job_id":"j","status":"done","payload":1,"result":2}`
		if got := <-answered; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := s.do(alice, "GET", "/v1/ai/jobs/j?wait=50s", ""); got.body != want { // over: at once
			t.Errorf("got %s, want %s", got.body, want)
		}
	})
}

func TestLongAnswersDoNotHoldUpAStop(t *testing.T) {
	s := newService(t, "sqlite:"+t.TempDir()+"/stop.db", fakeGuard{})
	stopping := make(chan struct{})
	a := &api{store: s.store, showroom: s.room, stopping: stopping}
	close(stopping)
	if err := a.carEvents(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)); err != errEnded {
		t.Error(err)
	}
	never := func() (bool, error) { return false, nil }
	if err := a.poll(httptest.NewRequest("GET", "/", nil), maxWait, never); err != nil {
		t.Error(err)
	}
}
