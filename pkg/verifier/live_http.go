package verifier

import (
	"net/http"
	"sync"
	"time"
)

// requireLong is Require for a route with [LongAnswer].
func (v *Verifier) requireLong(route *Route, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &longAnswer{ResponseWriter: w, r: r, header: w.Header().Clone()}
		c, err := FromRequest(r)
		if err != nil {
			v.counters.refused(tally{}, err)
		} else {
			a.live, err = v.beginLive(r.Context(), c, route, a.ended)
		}
		if err != nil {
			v.refuse(w, r, err, route)
			return
		}
		defer a.live.release()
		if p, ok := FromContext(a.live.ctx); ok {
			v.SetRateLimit(w.Header(), p, route)
		}
		next.ServeHTTP(a, r.WithContext(a.live.ctx))
		a.finish()
	})
}

// longAnswer is the [http.ResponseWriter] of a long answer. It has no ReadFrom, so that all that is written is judged.
type longAnswer struct {
	http.ResponseWriter
	r      *http.Request
	live   *live
	header http.Header // before the handler
	begun  bool        // something was written: there can't be another answer
	dirty  bool        // something that was written may not have been sent

	mu      sync.Mutex
	writing bool // a write is in flight; guarded by mu
	over    bool // the credential is dead; guarded by mu
}

// largestPiece is judged at once.
const largestPiece = 32 << 10

// permit judges now. When the credential is dead nothing is sent any more but, if nothing was, the refusal.
func (a *longAnswer) permit() error {
	err := a.live.check(a.live.ctx)
	switch {
	case err == nil:
	case !a.begun:
		a.begun = true
		a.refuse(err)
	case a.dirty:
		a.end(true)
	}
	return err
}

// refuse answers as if the request had been refused at its beginning.
func (a *longAnswer) refuse(err error) {
	h := a.ResponseWriter.Header()
	clear(h)
	for name, values := range a.header {
		h[name] = values
	}
	a.live.v.refuse(a.ResponseWriter, a.r, err, a.live.route)
}

// cut keeps what is in buffers from being sent, and ends a write that waits for a slow client. The server then closes
// the connection. An answer that can't be cut is of a test, or of a wrapper that hides its server's.
func (a *longAnswer) cut() {
	_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Unix(1, 0))
}

// ended is called when the credential has died. A write that waits is cut: what it holds was judged long ago.
func (a *longAnswer) ended() { a.end(false) }

func (a *longAnswer) end(dirty bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	if a.writing || dirty {
		a.cut()
	}
}

// send does one thing that writes to the connection.
func (a *longAnswer) send(write func() error) error {
	if err := a.permit(); err != nil {
		return err
	}
	if !a.enter() {
		return a.permit()
	}
	a.begun = true
	err := write()
	if !a.leave() {
		return *a.live.refused.Load()
	}
	return err
}

func (a *longAnswer) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writing = !a.over
	return a.writing
}

// leave reports whether the credential outlived the write.
func (a *longAnswer) leave() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writing = false
	return !a.over
}

// finish judges for the last time, before the server sends what is left.
func (a *longAnswer) finish() {
	if !a.begun || a.dirty {
		_ = a.permit() // whoever could be told has returned
	}
}

// WriteHeader implements [http.ResponseWriter].
func (a *longAnswer) WriteHeader(status int) {
	if a.permit() != nil {
		return
	}
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		a.begun, a.dirty = true, true
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (a *longAnswer) Write(b []byte) (written int, err error) {
	for {
		piece := b[written:min(written+largestPiece, len(b))]
		err = a.send(func() error {
			a.dirty = true
			n, err := a.ResponseWriter.Write(piece)
			written += n
			return err
		})
		if err != nil || written == len(b) {
			return written, err
		}
	}
}

// FlushError is what [http.ResponseController] calls.
func (a *longAnswer) FlushError() error {
	err := a.send(http.NewResponseController(a.ResponseWriter).Flush)
	if err == nil {
		a.dirty = false
	}
	return err
}

// Flush implements [http.Flusher].
func (a *longAnswer) Flush() { _ = a.FlushError() }

// SetWriteDeadline is what [http.ResponseController] calls. A dead answer gets no more time.
func (a *longAnswer) SetWriteDeadline(t time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return *a.live.refused.Load()
	}
	return http.NewResponseController(a.ResponseWriter).SetWriteDeadline(t)
}

// Unwrap lets [http.ResponseController] reach the rest.
func (a *longAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
