package load

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
)

// childVariable makes a program that holds this package a load.
const childVariable = "TOCSIN_BENCH_LOAD"

func init() {
	if os.Getenv(childVariable) == "" {
		return
	}
	var c *child
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o order
		if in.Decode(&o) != nil {
			os.Exit(0) // the parent has ended
		}
		var a answer
		if o.Start == nil {
			a.Report = c.report()
		} else {
			c = start(*o.Start)
		}
		if out.Encode(a) != nil {
			os.Exit(1)
		}
	}
}

// child is the process; its goroutines end with it.
type child struct {
	cfg   Config
	began time.Time

	mu       sync.Mutex
	tokens   []string
	sessions []string

	seen [3]tally
}

// The kinds of calls.
const (
	request = iota
	refresh
	login
)

// tally is what was seen of one kind.
type tally struct {
	took    figure.Distribution
	refused map[string]int
}

func start(cfg Config) *child {
	c := &child{cfg: cfg, tokens: cfg.Tokens, sessions: cfg.Sessions, began: time.Now()}
	for _, kind := range []struct {
		rate  float64
		width int
		hosts []string
		call  func(*Line, int) error
		tally *tally
	}{
		{float64(cfg.Rate), cfg.Connections, []string{cfg.Resource}, c.request, &c.seen[request]},
		{cfg.Refreshes, 8, cfg.Auths, c.refresh, &c.seen[refresh]},
		{cfg.Logins, 4, cfg.Auths, c.login, &c.seen[login]},
	} {
		if kind.rate == 0 {
			continue
		}
		due := make(chan job, 1<<16)
		for i := range kind.width {
			go c.work(NewLine(kind.hosts[i%len(kind.hosts)]), due, kind.call, kind.tally)
		}
		go pace(kind.rate, due, nil)
	}
	return c
}

// job is one call, numbered, and when it is due.
type job struct {
	n   int
	due time.Time
}

// pace gives out jobs at a fixed rate, however late the ones before are, until the end.
func pace(rate float64, jobs chan<- job, end <-chan struct{}) {
	began := time.Now()
	for n := 0; ; n++ {
		due := began.Add(time.Duration(float64(n) * float64(time.Second) / rate))
		Pause(time.Until(due))
		select {
		case jobs <- job{n, due}:
		case <-end:
			return
		}
	}
}

func (c *child) work(line *Line, jobs <-chan job, call func(*Line, int) error, seen *tally) {
	for j := range jobs {
		err := call(line, j.n)
		took := time.Since(j.due)
		c.mu.Lock()
		seen.took.Add(took)
		if err != nil {
			if seen.refused == nil {
				seen.refused = map[string]int{}
			}
			seen.refused[err.Error()]++
		}
		c.mu.Unlock()
	}
}

func (c *child) request(line *Line, n int) error {
	c.mu.Lock()
	token := c.tokens[n%len(c.tokens)]
	c.mu.Unlock()
	return good(line.Get(c.cfg.Path, token))
}

// refresh changes a session's tokens for new ones; the new access token is used from then on.
func (c *child) refresh(line *Line, n int) error {
	at := n % len(c.sessions)
	c.mu.Lock()
	secret := c.sessions[at]
	c.sessions[at] = "" // of one that is still being changed, or was refused
	c.mu.Unlock()
	if secret == "" {
		return fmt.Errorf("session %d has no refresh token", at)
	}
	status, body, err := line.Post("/v1/token/refresh", map[string]string{"refresh_token": secret})
	if err := good(status, body, err); err != nil {
		return err
	}
	var got struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions[at], c.tokens[n%len(c.tokens)] = got.RefreshToken, got.AccessToken
	return nil
}

func (c *child) login(line *Line, n int) error {
	p := c.cfg.People[n%len(c.cfg.People)]
	return good(line.Post("/v1/login", map[string]string{"username": p.Name, "password": p.Password}))
}

// good makes an error of everything but 200.
func good(status int, body []byte, err error) error {
	if err == nil && status != 200 {
		err = fmt.Errorf("%d %.200s", status, body)
	}
	return err
}

func (c *child) report() Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	var kinds [3]Kind
	for i := range c.seen {
		took := &c.seen[i].took
		kinds[i] = Kind{Answered: took.Len(), P50: took.At(0.5), P99: took.At(0.99), Max: took.At(1), Refused: c.seen[i].refused}
		c.seen[i] = tally{}
	}
	now := time.Now()
	r := Report{Lasted: now.Sub(c.began), Requests: kinds[request], Refreshes: kinds[refresh], Logins: kinds[login]}
	c.began = now
	return r
}
