package main

import (
	"errors"
	"net/http"
	"time"
)

// sendTimeout is how long a client may take to read one piece of a long answer.
const sendTimeout = 10 * time.Second

// errEnded means that the client is gone or its credential is dead. There is nothing to say: in the second case the
// middleware of [verifier.LongAnswer] answers.
var errEnded = errors.New("the request has ended before its answer")

// outlast lets an answer take d longer than the server's write time-out allows. A server that has none, as that of a test,
// may refuse.
func outlast(w http.ResponseWriter, d time.Duration) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d + sendTimeout))
}
