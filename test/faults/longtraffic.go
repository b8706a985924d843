package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/test/system"
)

const (
	listeners = 4 // open event streams at each instance
	pollers   = 2
)

// useLongAnswers keeps streams and polls open at an instance until the context ends.
func (f *Traffic) useLongAnswers(ctx context.Context, i int, r *Resource) {
	s, err := openShop(r, f.Recorder)
	if err != nil {
		panic(err) // of the driver's name or the form of the address
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { s.run(ctx, f.rng(5, i, 0)) })
	for n := range listeners {
		running.Go(func() {
			f.keepOpen(ctx, f.rng(6, i, n), func(c *credential, rng *rand.Rand) { f.stream(ctx, r, c, rng) })
		})
	}
	for n := range pollers {
		running.Go(func() { f.keepOpen(ctx, f.rng(7, i, n), func(c *credential, _ *rand.Rand) { f.poll(ctx, r, s, c) }) })
	}
}

// keepOpen opens one long answer after the other, with credentials that are in use and, now and then, with any.
func (f *Traffic) keepOpen(ctx context.Context, rng *rand.Rand, open func(*credential, *rand.Rand)) {
	for pause(ctx, time.Duration(rng.Int64N(int64(500*time.Millisecond)))) {
		c := f.pool.pickActive(rng)
		if rng.IntN(10) == 0 {
			c = f.pool.pick(rng)
		}
		if c != nil {
			open(c, rng)
		}
	}
}

// stream opens an event stream and reads it until it ends or the client has enough. That it was opened is recorded as an
// ordinary call, too.
func (f *Traffic) stream(ctx context.Context, r *Resource, c *credential, rng *rand.Rand) {
	ctx, hangUp := context.WithTimeout(ctx, time.Second+time.Duration(rng.Int64N(int64(5*f.bound))))
	defer hangUp()
	a := LongAnswer{Span: Span{Begin: f.Recorder.Now()}, Instance: r.Instance, Credential: c.name}
	opening := Call{Span: a.Span, Instance: a.Instance, Credential: a.Credential, Role: notShown}
	answer, err := open(ctx, r.Base+"/v1/cars/events", c, callTimeout)
	opening.End = f.Recorder.Now()
	if err == nil {
		defer answer.Body.Close()
		if a.Status = answer.StatusCode; a.Status == http.StatusOK {
			f.read(answer.Body, &a)
		} else {
			a.Code = codeIn(answer)
		}
	}
	a.End, a.HungUp = f.Recorder.Now(), ctx.Err() != nil
	opening.Status, opening.Code = a.Status, a.Code
	f.Recorder.Add(opening)
	f.Recorder.Add(a)
}

// read notes each event until there are no more.
func (f *Traffic) read(stream io.Reader, a *LongAnswer) {
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		now := f.Recorder.Now()
		switch line := lines.Text(); {
		case len(a.Pieces) == 0:
			a.Pieces = append(a.Pieces, Piece{a.Begin, now})
		case strings.HasPrefix(line, "data: "):
			var car struct{ Model string }
			json.Unmarshal([]byte(line[len("data: "):]), &car) // what isn't there has no time
			if made, ok := madeAt(car.Model); ok {
				a.Pieces = append(a.Pieces, Piece{max(made, a.Begin), now})
			}
		}
	}
}

// poll waits for a job to be done. It has a single piece, which tells of the job as it is then.
func (f *Traffic) poll(ctx context.Context, r *Resource, s *shop, c *credential) {
	j := job{c.subject, fmt.Sprintf("job%d", f.serial.Add(1))}
	if s.addJob(ctx, j) != nil {
		return
	}
	defer s.forget(j)
	wait := 3 * f.bound
	ctx, hangUp := context.WithTimeout(ctx, wait+2*callTimeout)
	defer hangUp()
	a := LongAnswer{Span: Span{Begin: f.Recorder.Now()}, Instance: r.Instance, Credential: c.name, Poll: true}
	answer, err := open(ctx, fmt.Sprintf("%s/v1/ai/jobs/%s?wait=%v", r.Base, j.id, wait), c, 0)
	a.End = f.Recorder.Now()
	if err == nil {
		defer answer.Body.Close()
		if a.Status = answer.StatusCode; a.Status == http.StatusOK {
			a.Pieces = []Piece{{max(jobIn(answer.Body), a.Begin), a.End}}
		} else {
			a.Code = codeIn(answer)
		}
	}
	a.HungUp = ctx.Err() != nil
	f.Recorder.Add(a)
}

// jobIn returns when the job was done that an answer tells of, 0 when it isn't.
func jobIn(body io.Reader) time.Duration {
	var told struct{ Result string }
	json.NewDecoder(body).Decode(&told) // what isn't there has no time
	made, _ := madeAt(told.Result)
	return made
}

// open makes a call whose answer may last, over a connection of its own.
func open(ctx context.Context, address string, c *credential, header time.Duration) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, "GET", address, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Authorization", c.authorization)
	transport := &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: header}
	return transport.RoundTrip(q)
}

func codeIn(answer *http.Response) string {
	body, _ := io.ReadAll(answer.Body) // without one there is no code
	return system.Answer{Body: body}.Code()
}
