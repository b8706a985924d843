package verifiergrpc

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Handler is for a server that net/http serves, by [grpc.Server.ServeHTTP], which calls no tap: it does there what
// [Guard.Tap] does elsewhere. Mount guard.Handler(server) in place of the server; without it the guard refuses its streams.
func (g *Guard) Handler(server http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := &exchange{ResponseWriter: w, request: r}
		defer e.finish()
		server.ServeHTTP(e, r.WithContext(context.WithValue(r.Context(), cutKey{}, e.cut)))
	})
}

// exchange is one call over net/http, which can be cut. gRPC writes from one goroutine.
type exchange struct {
	http.ResponseWriter
	request *http.Request

	mu      sync.Mutex
	writing bool // a write is in flight; guarded by mu
	over    bool // the server has returned; guarded by mu
}

// cut ends a receive that waits for a message, so that the status can still be sent, and a send that waits for a slow
// client, with the whole stream.
func (e *exchange) cut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return
	}
	_ = e.request.Body.Close() // it can't fail
	if e.writing {
		_ = http.NewResponseController(e.ResponseWriter).SetWriteDeadline(time.Unix(1, 0)) // of a test's writer, that can't be cut
	}
}

func (e *exchange) finish() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
}

func (e *exchange) write(do func()) {
	e.setWriting(true)
	defer e.setWriting(false)
	do()
}

func (e *exchange) setWriting(writing bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writing = writing
}

// Write implements [http.ResponseWriter].
func (e *exchange) Write(b []byte) (n int, err error) {
	e.write(func() { n, err = e.ResponseWriter.Write(b) })
	return n, err
}

// Flush implements [http.Flusher], which gRPC requires.
func (e *exchange) Flush() {
	e.write(func() { _ = http.NewResponseController(e.ResponseWriter).Flush() }) // whoever could be told has no error to take
}

// Unwrap lets [http.ResponseController] reach the rest.
func (e *exchange) Unwrap() http.ResponseWriter { return e.ResponseWriter }
