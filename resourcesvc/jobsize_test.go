package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/worker"
)

// widest is JSON of so many bytes that would be the largest if it were escaped for HTML, or in ASCII.
func widest(size int) string {
	const char = "<>&\u2028"
	inside := strings.Repeat(char, size/len(char))[:size-size%len(char)]
	for len(inside)+2 > size {
		inside = inside[len(char):]
	}
	return `"` + inside + strings.Repeat("<", size-2-len(inside)) + `"`
}

func (s service) queue(id, payload string) answer {
	s.t.Helper()
	return s.do(alice, "POST", "/v1/ai/jobs", `{"job_id":"`+id+`","payload":`+payload+`}`)
}

func TestPartsOfAJobAreBoundedByWhatEachStepTakes(t *testing.T) {
	s := newService(t, "sqlite:"+t.TempDir()+"/size.db", fakeGuard{})
	id := strings.Repeat("\u00fc", 128)
	s.want(202, "", s.queue(id, widest(maxPart)))
	s.want(200, "", s.do(alice, "POST", "/v1/ai/compute", `{"payload":`+widest(maxPart)+`}`))
	done := s.want(200, "", s.do(alice, "PUT", "/v1/ai/jobs/"+id+"/result", `{"result":`+widest(maxPart)+`}`))
	const workerReads = 128 << 10
	if n := len(done.body) + 6*maxText; n > workerReads { // with the longest id
		t.Errorf("%d bytes, of which a worker reads %d", n, workerReads)
	}
	for field, got := range map[string]answer{
		"payload": s.queue("k", widest(maxPart+1)),
		"result":  s.do(alice, "PUT", "/v1/ai/jobs/"+id+"/result", `{"result":`+widest(maxPart+1)+`}`),
	} {
		if got.status != 400 || len(got.Errors) != 1 || got.Errors[0].Field != field {
			t.Errorf("%s of one byte more: %d %.200s", field, got.status, got.body)
		}
	}
}

// A real worker does the largest job, and stores the largest result.
func TestTheLargestJobIsDone(t *testing.T) {
	s := newService(t, "sqlite:"+t.TempDir()+"/largest.db", fakeGuard{})
	largest := widest(maxPart)
	s.want(202, "", s.queue("j", largest))
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("User", alice)
		s.h.ServeHTTP(w, r)
	})
	mux.HandleFunc("POST /largest", func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)) // what this service's compute takes
		if err != nil || !strings.Contains(string(got), largest) {
			t.Errorf("asked to compute %d bytes, %v", len(got), err)
		}
		_, _ = io.WriteString(w, largest)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	settings := worker.Settings{ServiceURL: server.URL, ComputeURL: server.URL + "/largest", Key: "k", Concurrency: 1, JobTimeout: time.Minute}
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { ended <- worker.Run(ctx, settings, slog.New(slog.DiscardHandler)) }()
	done := s.do(alice, "GET", "/v1/ai/jobs/j?wait=10s", "")
	for range 3 {
		if strings.Contains(done.body, `"status":"running"`) {
			done = s.do(alice, "GET", "/v1/ai/jobs/j?wait=10s", "")
		}
	}
	stop()
	if err := <-ended; err != nil || !strings.HasSuffix(done.body, `"result":`+largest+`}`) {
		t.Errorf("%.100s, %v", done.body, err)
	}
}
