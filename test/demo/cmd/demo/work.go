package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// patience is how long the job may take, of which the worker's start is most.
const patience = 2 * time.Minute

// work starts a worker that has her API key and nothing else, and waits for the job that she queued.
func (s *story) work(ctx context.Context) (err error) {
	began := time.Now()
	worker := exec.CommandContext(ctx, filepath.Join(s.bin, "resourcesvc"), "worker")
	worker.Env = []string{"TOCSIN_API_KEY=" + s.user.liveKey.Key, "TOCSIN_SERVICE_URL=" + s.resource, "TOCSIN_ISSUER=" + s.auth}
	if err := worker.Start(); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, worker.Process.Signal(syscall.SIGTERM), worker.Wait())
	}()
	var got struct{ Status, Reason string }
	for got.Status == "" || got.Status == "queued" || got.Status == "running" {
		if time.Since(began) > patience {
			break
		}
		r, err := s.expect(ctx, "GET", s.resource+"/v1/ai/jobs/demo?wait=5s", s.user.bearer, nil, http.StatusOK)
		if err != nil {
			return err
		}
		if got, err = decode[struct{ Status, Reason string }](r, http.StatusOK); err != nil {
			return err
		}
	}
	if got.Status != "done" {
		return fmt.Errorf("the job is %s %s", got.Status, got.Reason)
	}
	s.say(time.Since(began), "GET /v1/ai/jobs/demo?wait=5s → done, with the start of `resourcesvc worker`")
	return nil
}
