package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// serveImpatiently runs a service with time-outs for whose end nobody has to wait.
func (s service) serveImpatiently() (*httptest.Server, *deadlines) {
	server := httptest.NewUnstartedServer(s.h)
	server.Config.ReadTimeout, server.Config.WriteTimeout = impatience, impatience
	d := &deadlines{Listener: server.Listener}
	server.Listener = d
	server.Start()
	s.t.Cleanup(server.Close)
	return server, d
}

const impatience = 30 * time.Second

// deadlines are those of a server's connections.
type deadlines struct {
	net.Listener
	mu  sync.Mutex
	all []*deadlineConn
}

type deadlineConn struct {
	net.Conn
	of          *deadlines
	read, write time.Time
}

func (d *deadlines) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &deadlineConn{Conn: conn, of: d}
	d.all = append(d.all, c)
	return c, nil
}

func (c *deadlineConn) SetReadDeadline(t time.Time) error {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.read = t
	return c.Conn.SetReadDeadline(t)
}

func (c *deadlineConn) SetWriteDeadline(t time.Time) error {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.write = t
	return c.Conn.SetWriteDeadline(t)
}

// pass ends those that end within a while that is longer than the server's time-outs.
func (d *deadlines) pass() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.all {
		if endsSoon(c.read) {
			_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
		}
		if endsSoon(c.write) {
			_ = c.Conn.SetWriteDeadline(time.Unix(1, 0))
		}
	}
}

// extended reports whether a handler has taken more time than the server gives it.
func (d *deadlines) extended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.all, func(c *deadlineConn) bool { return !c.write.IsZero() && !endsSoon(c.write) })
}

func endsSoon(t time.Time) bool { return !t.IsZero() && time.Until(t) < impatience+time.Second }

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

// fetch returns an answer's body, or what went wrong.
func fetch(server *httptest.Server, path string) string {
	q, err := http.NewRequest("GET", server.URL+path, nil)
	if err != nil {
		return err.Error()
	}
	q.Header.Set("User", alice)
	res, err := server.Client().Do(q)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(body))
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
		server, limits := s.serveImpatiently()
		stream := bufio.NewReader(open(t.Context(), t, server, "/v1/cars/events"))
		if first := nextEvent(t, stream); first[""] != "from now on" {
			t.Errorf("it begins with %v", first)
		}
		for range 4 {
			limits.pass()
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
	server, _ := s.serveImpatiently()
	stream := bufio.NewReader(open(t.Context(), t, server, "/v1/cars/events"))
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
		server, limits := s.serveImpatiently()
		began := time.Now()
		body, err := io.ReadAll(open(t.Context(), t, server, "/v1/ai/jobs/j?wait=400ms"))
		if took := time.Since(began); err != nil || !strings.Contains(string(body), "queued") || took < 400*time.Millisecond {
			t.Errorf("nothing changed: %s after %v, %v", body, took, err)
		}
		answered := make(chan string, 1)
		go func() { answered <- fetch(server, "/v1/ai/jobs/j?wait=50s") }()
		for !limits.extended() {
			select {
			case got := <-answered:
				t.Fatalf("not awaited: %s", got)
			case <-time.After(time.Millisecond): // nothing tells
			}
		}
		limits.pass()
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
