package verifier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// serveLong runs a guarded handler on a real server, asks it, and returns the answer.
func (r *rig) serveLong(h http.HandlerFunc, opts ...RouteOption) *http.Response {
	r.t.Helper()
	server := httptest.NewUnstartedServer(r.Require(append(opts, LongAnswer())...)(h))
	return r.ask(server)
}

func (r *rig) ask(server *httptest.Server) *http.Response {
	r.t.Helper()
	if server.EnableHTTP2 {
		server.StartTLS()
	} else {
		server.Start()
	}
	r.t.Cleanup(server.Close)
	q, err := http.NewRequestWithContext(r.t.Context(), "GET", server.URL, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+mint(nil))
	res, err := server.Client().Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func (r *rig) revoke() {
	r.apply(events.TokenRevoked{JTI: aliceToken})
	r.news.ring()
}

// read returns the next n bytes of a body, which have to come.
func read(t *testing.T, body io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(body, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAStreamEndsWithItsCredential(t *testing.T) {
	r := newRig(t)
	cause, flushed := make(chan error, 1), make(chan struct{})
	res := r.serveLong(func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		close(flushed)
		<-q.Context().Done()
		cause <- context.Cause(q.Context())
	})
	if got := read(t, res.Body, 5); got != "first" {
		t.Error(got)
	}
	<-flushed // a write that is still in progress would be cut, though all of it has arrived
	r.revoke()
	if rest, err := io.ReadAll(res.Body); len(rest) != 0 || err != nil {
		t.Errorf("%q, %v", rest, err) // what was sent is whole, so the end is a clean one
	}
	if err := <-cause; !errors.Is(err, ErrRevoked) {
		t.Error(err)
	}
}

func TestNotAByteIsSentForADeadCredential(t *testing.T) {
	for name, write := range map[string]func(w http.ResponseWriter, die func()) error{
		"written after": func(w http.ResponseWriter, die func()) error {
			die()
			_, err := io.WriteString(w, "more")
			return err
		},
		"flushed after": func(w http.ResponseWriter, die func()) error {
			_, _ = io.WriteString(w, "more")
			die()
			return http.NewResponseController(w).Flush()
		},
		"left in the buffer": func(w http.ResponseWriter, die func()) error {
			_, _ = io.WriteString(w, "more")
			die()
			return ErrStale
		},
		"with another deadline": func(w http.ResponseWriter, die func()) error {
			_, _ = io.WriteString(w, "more")
			die()
			_ = http.NewResponseController(w).Flush()
			return http.NewResponseController(w).SetWriteDeadline(time.Time{})
		},
		"large": func(w http.ResponseWriter, die func()) error {
			die()
			_, err := w.Write(make([]byte, 1<<20))
			return err
		},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %v", name, http2), func(t *testing.T) {
				r := newRig(t)
				result := make(chan error, 1)
				server := httptest.NewUnstartedServer(r.Require(LongAnswer())(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
					_, _ = io.WriteString(w, "first")
					w.(http.Flusher).Flush()
					// As after a thaw: nothing rings, so that nobody but the writer can notice.
					result <- write(w, func() { r.clock.Advance(DefaultMaxStaleness + 1) })
				})))
				server.EnableHTTP2 = http2
				res := r.ask(server)
				if got := read(t, res.Body, 5); got != "first" || res.ProtoMajor == 2 != http2 {
					t.Error(got, res.Proto)
				}
				if rest, _ := io.ReadAll(res.Body); len(rest) != 0 {
					t.Errorf("sent %q", rest)
				}
				if err := <-result; !errors.Is(err, ErrStale) {
					t.Error(err)
				}
			})
		}
	}
}

func TestAnAnswerThatHasNotBegunBecomesTheRefusal(t *testing.T) {
	for name, h := range map[string]func(w http.ResponseWriter, q *http.Request){
		"that writes nothing": func(w http.ResponseWriter, q *http.Request) { <-q.Context().Done() },
		"that writes": func(w http.ResponseWriter, q *http.Request) {
			<-q.Context().Done()
			w.Header().Set("Content-Length", "2")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(200)
			_, _ = io.WriteString(w, "{}")
		},
		"that flushes": func(w http.ResponseWriter, q *http.Request) {
			<-q.Context().Done()
			w.(http.Flusher).Flush()
		},
	} {
		t.Run("handler "+name, func(t *testing.T) {
			r := newRig(t)
			res := r.serveLong(func(w http.ResponseWriter, q *http.Request) {
				r.revoke()
				h(w, q)
			})
			body, err := io.ReadAll(res.Body)
			if res.StatusCode != 401 || !strings.Contains(string(body), `"code":"revoked"`) || err != nil {
				t.Errorf("%d %s, %v", res.StatusCode, body, err)
			}
			if res.Header.Get("Content-Type") != "application/problem+json" || len(res.Header["Www-Authenticate"]) != 2 {
				t.Error(res.Header)
			}
		})
	}
}

// stuckConn is a connection to a client that reads no more than a first small piece.
type stuckConn struct {
	net.Conn
	stuck chan struct{} // closed when a write waits
	once  sync.Once

	mu       sync.Mutex
	deadline chan struct{} // closed when a deadline in the past was set
}

func (c *stuckConn) Write(b []byte) (int, error) {
	if len(b) < largestPiece/2 {
		return c.Conn.Write(b)
	}
	c.once.Do(func() { close(c.stuck) })
	select {
	case <-c.deadline:
	case <-time.After(2 * time.Minute): // so that a test that fails ends
	}
	return 0, os.ErrDeadlineExceeded
}

func (c *stuckConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !t.IsZero() && t.Before(time.Now()) {
		select {
		case <-c.deadline:
		default:
			close(c.deadline)
		}
	}
	return c.Conn.SetWriteDeadline(t)
}

type stuckListener struct {
	net.Listener
	stuck chan struct{}
}

func (l stuckListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &stuckConn{Conn: c, stuck: l.stuck, deadline: make(chan struct{})}, nil
}

func TestAWriteThatWaitsForItsClientIsCut(t *testing.T) {
	r := newRig(t)
	result, stuck := make(chan error, 1), make(chan struct{})
	server := httptest.NewUnstartedServer(r.Require(LongAnswer())(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		_, err := w.Write(make([]byte, 3*largestPiece))
		result <- err
	})))
	server.Listener = stuckListener{server.Listener, stuck}
	res := r.ask(server)
	if got := read(t, res.Body, 5); got != "first" {
		t.Error(got)
	}
	<-stuck
	r.revoke()
	select {
	case err := <-result:
		if !errors.Is(err, ErrRevoked) {
			t.Error(err)
		}
	case <-time.After(time.Minute): // only when it is not cut
		t.Fatal("the write goes on waiting")
	}
}

func TestALongAnswerThatIsRefusedAtOnceNeverReachesItsHandler(t *testing.T) {
	r := newRig(t)
	r.revoke()
	res := r.serveLong(func(http.ResponseWriter, *http.Request) { t.Error("it ran") })
	if res.StatusCode != 401 {
		t.Error(res.Status)
	}
	if code := r.call("/", nil, LongAnswer()).StatusCode; code != 401 {
		t.Errorf("without a credential: %d", code)
	}
}

func TestAShortAnswerOfALongRouteIsAnswered(t *testing.T) {
	r := newRig(t)
	res := r.serveLong(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("X", "y")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "tea")
	}, Role("user"))
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusTeapot || string(body) != "tea" || res.Header.Get("X") != "y" {
		t.Errorf("%s %q %v", res.Status, body, res.Header)
	}
	if n := r.lives.len(); n != 0 {
		t.Errorf("%d long answers are still known", n)
	}
}
