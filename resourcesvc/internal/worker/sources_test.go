package worker

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/exchange"
	"github.com/tocsin-auth/tocsin/resourcesvc/internal/queue"
)

// message notes what becomes of it.
type message struct {
	jetstream.Msg
	steps *[]string
	err   error
}

func (m message) Ack() error                      { *m.steps = append(*m.steps, "ack"); return m.err }
func (m message) DoubleAck(context.Context) error { *m.steps = append(*m.steps, "gone"); return m.err }

// A job that rested when it was asked for may be due, and noted as offered, before its message is gone.
func TestAJobThatWasTakenIsAskedForOnceMoreWhenItsMessageIsGone(t *testing.T) {
	broken := errors.New("the bus is away")
	for name, tc := range map[string]struct {
		answers []string // codes of refusals; none: the job
		ack     error
		steps   []string
		claimed bool
		err     error
	}{
		"due since":                {answers: []string{"job_taken", ""}, steps: []string{"asked", "gone", "asked"}, claimed: true},
		"another's":                {answers: []string{"job_taken", "job_taken"}, steps: []string{"asked", "gone", "asked"}},
		"perhaps not gone":         {answers: []string{"job_taken"}, ack: broken, steps: []string{"asked", "gone"}, err: broken},
		"over":                     {answers: []string{"job_over"}, steps: []string{"asked", "ack"}},
		"claimed":                  {answers: []string{""}, steps: []string{"asked", "ack"}, claimed: true},
		"claimed, and comes again": {answers: []string{""}, ack: broken, steps: []string{"asked", "ack"}, claimed: true},
	} {
		t.Run(name, func(t *testing.T) {
			var steps []string
			server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				code := tc.answers[0]
				steps, tc.answers = append(steps, "asked"), tc.answers[1:]
				if code != "" {
					writeProblem(rw, 409, code)
					return
				}
				_, _ = io.WriteString(rw, `{"job_id":"j","claim":1,"lease_ms":1000,"grant":"g"}`)
			}))
			defer server.Close()
			w := newWorld(t).worker
			w.service = service{base: server.URL, http: exchange.NewHTTP()}
			defer w.service.http.CloseIdleConnections()
			got, err := (&queuedJobs{w: w}).claim(t.Context(), queue.Message{UserID: "u", JobID: "j"}, message{steps: &steps, err: tc.ack})
			if (got != nil) != tc.claimed || !errors.Is(err, tc.err) || !slices.Equal(steps, tc.steps) {
				t.Error(steps, got, err)
			}
		})
	}
}
