package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/tocsin-auth/tocsin/test/pgtest"
)

// started is a service in this process, on a free port.
type started struct {
	url  string
	stop func() int // ends it and returns its exit code
}

func start(t *testing.T, args ...string) started {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"serve", "--http-addr=127.0.0.1:0", "--data-dir=" + t.TempDir()}, args...), writer, io.Discard)
		writer.Close()
	}()
	line, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		t.Fatalf("it said %q and ended with %d", line, <-code)
	}
	stop := sync.OnceValue(func() int {
		cancel()
		http.DefaultClient.CloseIdleConnections()
		return <-code
	})
	t.Cleanup(func() { stop() })
	return started{regexp.MustCompile(`http://\S+`).FindString(line), stop}
}

func (s started) get(t *testing.T, path string) (int, string) {
	t.Helper()
	res, err := http.Get(s.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestNotReadyUntilProvenAndStartsWithoutAuthAndBus(t *testing.T) {
	s := start(t, "--nats-url=nats://127.0.0.1:1", "--issuer=http://127.0.0.1:1")
	for _, tc := range []struct {
		path   string
		status int
		says   string
	}{
		{"/healthz", 200, "ok"},
		{"/readyz", 503, "verifier"},
		{"/v1/verifier", 200, `"state":"starting"`},
		{"/metrics", 200, "tocsin_verifier"},
		{"/v1/whoami", 401, "missing_credential"},
	} {
		status, body := s.get(t, tc.path)
		if status != tc.status || !strings.Contains(body, tc.says) {
			t.Errorf("%s: %d %s, want %d and %s", tc.path, status, body, tc.status, tc.says)
		}
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit %d after a stop, want 0", code)
	}
}

func TestBusyPortIsOneClearFailure(t *testing.T) {
	s := start(t, "--nats-url=nats://127.0.0.1:1")
	var errs strings.Builder
	code := run(t.Context(), []string{"serve", "--nats-url=nats://127.0.0.1:1", "--log-level=error",
		"--data-dir=" + t.TempDir(), "--http-addr=" + strings.TrimPrefix(s.url, "http://")}, io.Discard, &errs)
	if code != 1 || !strings.Contains(errs.String(), "http-addr") || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}

func TestReplicasMayMigrateAtOnce(t *testing.T) {
	for engine, database := range map[string]func(*testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + t.TempDir() + "/resource.db" },
		"postgres": func(t *testing.T) string { return pgtest.URL(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			url := database(t)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					db, err := openStore(t.Context(), url)
					if err != nil {
						t.Error(err)
						return
					}
					if err := db.close(); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	}
}
