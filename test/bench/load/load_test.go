package load

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestALineKeepsItsConnectionAndShowsTheToken(t *testing.T) {
	var from []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from = append(from, r.RemoteAddr)
		w.Write([]byte(r.Method + r.URL.Path + r.Header.Get("Authorization")))
	}))
	defer server.Close()
	line := NewLine(strings.TrimPrefix(server.URL, "http://"))
	defer line.Close()
	if status, body, err := line.Get("/a", "token"); err != nil || status != 200 || string(body) != "GET/aBearer token" {
		t.Errorf("%d %s %v", status, body, err)
	}
	if status, body, err := line.Post("/b", 1); err != nil || status != 200 || string(body) != "POST/b" {
		t.Errorf("%d %s %v", status, body, err)
	}
	if len(from) != 2 || from[0] != from[1] {
		t.Errorf("requests came from %v", from)
	}
}

func TestWorkIsCountedByProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc")
	}
	own := func(pid int, _ string) string {
		if pid == os.Getpid() {
			return "own"
		}
		return "other"
	}
	before, err := CPU(own)
	if err != nil {
		t.Fatal(err)
	}
	for {
		after, err := CPU(own)
		if err != nil {
			t.Fatal(err)
		}
		if after["own"] > before["own"] {
			return
		}
	}
}

func TestAJobIsDueHoweverLateTheOnesBeforeAre(t *testing.T) {
	jobs, end := make(chan job, 100), make(chan struct{})
	var pacing sync.WaitGroup
	pacing.Go(func() { pace(1000, jobs, end) })
	defer pacing.Wait()
	defer close(end)
	first := <-jobs
	Pause(20 * time.Millisecond) // nobody takes any
	for n := 1; n <= 10; n++ {
		if j := <-jobs; j.n != n || j.due.Sub(first.due) != time.Duration(n)*time.Millisecond {
			t.Fatalf("job %d is due %v after the first", j.n, j.due.Sub(first.due))
		}
	}
}
