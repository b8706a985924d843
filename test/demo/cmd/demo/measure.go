package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// repeats is how often a call is made for its median.
const repeats = 100

// expect calls and insists on the status.
func (s *story) expect(ctx context.Context, method, url, authorization string, in any, want int) (reply, error) {
	r, err := s.call(ctx, method, url, authorization, in)
	if err != nil {
		return reply{}, err
	}
	if r.status != want {
		return reply{}, fmt.Errorf("%s %s: got %d %s, want %d", method, url, r.status, r.body, want)
	}
	return r, nil
}

func (s *story) median(ctx context.Context, url, authorization string) (time.Duration, error) {
	took := make([]time.Duration, repeats)
	for i := range took {
		r, err := s.expect(ctx, "GET", url, authorization, nil, http.StatusOK)
		if err != nil {
			return 0, err
		}
		took[i] = r.took
	}
	slices.Sort(took)
	return took[repeats/2], nil
}

// until calls whoami again and again, and returns the time from began to the first answer that is as wanted.
func (s *story) until(ctx context.Context, began time.Time, authorization string, wanted func(reply) bool) (time.Duration, error) {
	for time.Since(began) < time.Minute {
		r, err := s.call(ctx, "GET", s.resource+"/v1/whoami", authorization, nil)
		if err != nil {
			return 0, err
		}
		if wanted(r) {
			return time.Since(began), nil
		}
	}
	return 0, errors.New("nothing changed within a minute")
}

// watch is what somebody saw who called all the time while a credential died.
type watch struct {
	accepted int       // answers 200
	last     time.Time // when the last accepted call had begun
	refused  time.Time // when the first refusal arrived
	code     string
	err      error
}

// killWhileCalling makes the call that kills the user's session while another client goes on using her token.
func (s *story) killWhileCalling(ctx context.Context, path, authorization string) error {
	seen := make(chan watch, 1)
	running := make(chan struct{})
	go func() { seen <- s.callUntilRefused(ctx, s.user.bearer, running) }()
	<-running
	began := time.Now()
	r, err := s.call(ctx, "POST", s.auth+path, authorization, nil)
	returned := time.Now()
	w := <-seen
	switch {
	case err != nil:
		return err
	case r.status/100 != 2:
		return fmt.Errorf("POST %s: %d %s", path, r.status, r.body)
	case w.err != nil:
		return w.err
	}
	s.say(r.took, "POST %s → %d", strings.ReplaceAll(path, s.user.id, "{id}"), r.status)
	s.say(w.refused.Sub(began), "from that call's start until the service answered 401 %s (and %d times 200 until then)", w.code, w.accepted)
	if after := w.last.Sub(returned); after > 0 {
		s.say(after, "after the call had returned, a request was still accepted")
		return nil
	}
	s.say(returned.Sub(w.last), "before the call returned, the last request that was accepted had begun")
	return nil
}

// pace is how often somebody calls who watches: often enough to see, seldom enough not to be what is measured.
const pace = time.Millisecond

// callUntilRefused closes running after its first accepted call. It gives up after a minute.
func (s *story) callUntilRefused(ctx context.Context, authorization string, running chan<- struct{}) (w watch) {
	started := sync.OnceFunc(func() { close(running) })
	defer started()
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		began := time.Now()
		r, err := s.call(ctx, "GET", s.resource+"/v1/whoami", authorization, nil)
		switch {
		case err != nil:
			w.err = err
			return w
		case r.status != http.StatusOK:
			w.refused, w.code = time.Now(), r.code()
			return w
		}
		w.accepted, w.last = w.accepted+1, began
		started()
	}
	w.err = errors.New("the token was never refused")
	return w
}
