package propagation

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/bench/load"
	"github.com/tocsin-auth/tocsin/test/bench/stage"
	"github.com/tocsin-auth/tocsin/test/system"
)

var (
	loads           = flag.String("loads", "0:0:0,200:5:1", "requests:refreshes:logins in a second, of each load")
	loadRounds      = flag.Int("load-rounds", 1, "how often each load comes")
	people          = flag.Int("people", 2, "how many people are at work under each load")
	loadRevocations = flag.Int("load-revocations", 5, "revocations under each load in a round")
)

const (
	// tokensOfPerson is how many access tokens of one session each has who is at work.
	tokensOfPerson  = 25
	loadConnections = 64
	// warmUp lets a new load come to its pace.
	warmUp = 500 * time.Millisecond
	// apart is the time between two revocations, and up to as much again at random, so that they keep step with nothing.
	apart = 25 * time.Millisecond
)

// scene is a system with one resource service, and what is done with it.
type scene struct {
	*stage.Stage
	resource *system.Resource
	admin    system.User
	user     system.User // whose tokens are revoked
	work     load.Config
	line     *load.Line // of the prober
	state    *load.Line // to ask the verifier how it is
	// registered counts people.
	registered int
}

func setScene(t *testing.T, s *stage.Stage) *scene {
	c := &scene{Stage: s, admin: s.Auth[0].Admin(t), user: s.Auth[0].Register(t, "revoked")}
	c.resource = system.StartResource(t, s.Auth[0], map[string]string{"TOCSIN_NATS_URL": stage.URL(s.Bus), "TOCSIN_NATS_CREDS": s.Credentials})
	host := strings.TrimPrefix(c.resource.Base, "http://")
	c.line, c.state = newLine(t, host), newLine(t, host)
	c.work = load.Config{Resource: host, Path: ordinary, Connections: loadConnections}
	for _, a := range s.Auth {
		c.work.Auths = append(c.work.Auths, strings.TrimPrefix(a.Base, "http://"))
	}
	return c
}

func newLine(t *testing.T, host string) *load.Line {
	line := load.NewLine(host)
	t.Cleanup(func() { line.Close() })
	return line
}

// employ makes people for one load. They are no use for another: their refresh tokens are used up.
func (c *scene) employ(t *testing.T, w work) load.Config {
	cfg := c.work
	cfg.Rate, cfg.Refreshes, cfg.Logins = w.rate, w.refreshes, w.logins
	for i := range *people {
		a := c.Auth[i%len(c.Auth)]
		u := a.Register(t, fmt.Sprintf("person-%d", c.registered))
		c.registered++
		for range tokensOfPerson {
			stage.Refresh(t, a, &u)
			cfg.Tokens = append(cfg.Tokens, u.Token)
		}
		cfg.Sessions = append(cfg.Sessions, u.RefreshToken)
		cfg.People = append(cfg.People, load.Person{Name: u.Name, Password: u.Password})
	}
	return cfg
}

func works(t *testing.T) (all []work) {
	for field := range strings.SplitSeq(*loads, ",") {
		var w work
		if _, err := fmt.Sscanf(field, "%d:%g:%g", &w.rate, &w.refreshes, &w.logins); err != nil || w.rate < 0 || w.refreshes < 0 || w.logins < 0 {
			t.Fatalf("%q is no load: %v", field, err)
		}
		all = append(all, w)
	}
	return all
}

// work is one kind of load.
type work struct {
	rate              int
	refreshes, logins float64
}

func (w work) String() string {
	if w == (work{}) {
		return "none"
	}
	return fmt.Sprintf("%d requests/s, %g refreshes/s, %g logins/s", w.rate, w.refreshes, w.logins)
}

// endings is what was measured under one load.
type endings struct {
	work
	fromAnswer, fromChange, fromSending, call                figure.Distribution // until the last acceptance
	refusedFromAnswer, refusedFromChange, refusedFromSending figure.Distribution // until the first refusal
	resolution                                               figure.Distribution
	fromCommit, refusedFromCommit, beforeCommit, afterCommit figure.Distribution // where the database tells of commits
	proofAge                                                 figure.Distribution
	asked                                                    int
	lasted                                                   time.Duration
	reports                                                  []load.Report
	cpu                                                      map[string]time.Duration
}

func (c *scene) measure(t *testing.T) []*endings {
	var all []*endings
	for _, w := range works(t) {
		all = append(all, &endings{work: w, cpu: map[string]time.Duration{}})
	}
	for range *loadRounds {
		for _, e := range all {
			c.round(t, e)
		}
	}
	return all
}

func (c *scene) round(t *testing.T, e *endings) {
	l := load.Start(t, c.employ(t, e.work))
	defer l.Close()
	time.Sleep(warmUp) // real processes: nothing tells when their pace is steady
	l.Report(t)
	before, began := c.cpu(t, l.PID()), time.Now()
	changes := map[string]*ending{}
	for i := range *loadRevocations {
		one := c.revoke(t, c.Auth[i%len(c.Auth)])
		changes[one.event] = one
		e.asked += one.asked
		if i%5 == 0 {
			e.proofAge.Add(c.proofAge(t))
		}
		load.Pause(apart + rand.N(apart))
	}
	e.lasted += time.Since(began)
	for name, used := range c.cpu(t, l.PID()) {
		e.cpu[name] += used - before[name]
	}
	e.reports = append(e.reports, l.Report(t))
	e.nobodyRefused(t)
	c.findChanges(t, changes)
	c.findCommits(t, changes)
	for _, one := range changes {
		e.add(t, one)
	}
}

// nobodyRefused: NoCollateral, and the load is no load if its requests fail.
func (e *endings) nobodyRefused(t *testing.T) {
	last := e.reports[len(e.reports)-1]
	for _, k := range []load.Kind{last.Requests, last.Refreshes, last.Logins} {
		for why, n := range k.Refused {
			t.Errorf("%d calls with good credentials were refused: %s", n, why)
		}
	}
}

// ending is one revocation.
type ending struct {
	sighting
	event                  string
	sent, change, answered time.Time // change: what the event's row says, which is before its commit
	commit                 time.Time // what the database says, if it does
}

// revoke ends one token while it is being used.
func (c *scene) revoke(t *testing.T, a *system.Auth) *ending {
	stage.Refresh(t, a, &c.user)
	p := &prober{line: c.line, token: c.user.Token, started: time.Now(), begun: make(chan struct{})}
	watched := make(chan error, 1)
	go func() { watched <- p.watch() }()
	<-p.begun
	one := &ending{sent: time.Now()}
	got := a.Must(t, 200, "POST", "/v1/admin/revocations?wait=none", c.admin.Auth(), map[string]any{"token": c.user.Token})
	one.answered = time.Now()
	if err := <-watched; err != nil {
		t.Fatal(err)
	}
	one.sighting, one.event = p.sighting, *got.Receipt(t).EventID
	return one
}

// findChanges learns when the rows of the revocations were written.
func (c *scene) findChanges(t *testing.T, wanted map[string]*ending) {
	left := len(wanted)
	for path := "/v1/admin/revocations?limit=100"; left > 0; {
		var page struct {
			Items []struct {
				ID        string    `json:"event_id"`
				CreatedAt time.Time `json:"created_at"`
			} `json:"items"`
			Next string `json:"next_cursor"`
		}
		c.Auth[0].Must(t, 200, "GET", path, c.admin.Auth(), nil).Into(t, &page)
		for _, item := range page.Items {
			if one := wanted[item.ID]; one != nil {
				one.change = item.CreatedAt
				left--
			}
		}
		if page.Next == "" && left > 0 {
			t.Fatalf("%d revocations aren't listed", left)
		}
		path = "/v1/admin/revocations?limit=100&cursor=" + page.Next
	}
}

func (e *endings) add(t *testing.T, one *ending) {
	if one.change.Before(one.sent.Add(-time.Millisecond)) || one.change.After(one.answered) {
		t.Errorf("a row was written at %v, and its call lasted from %v to %v: the clocks differ", one.change, one.sent, one.answered)
	}
	e.call.Add(one.answered.Sub(one.sent))
	e.fromAnswer.Add(one.accepted.Sub(one.answered))
	e.fromChange.Add(one.accepted.Sub(one.change))
	e.fromSending.Add(one.accepted.Sub(one.sent))
	e.refusedFromAnswer.Add(one.refused.Sub(one.answered))
	e.refusedFromChange.Add(one.refused.Sub(one.change))
	e.refusedFromSending.Add(one.refused.Sub(one.sent))
	e.resolution.Add(one.refused.Sub(one.accepted))
	e.addCommit(t, one)
}

func (c *scene) proofAge(t *testing.T) time.Duration {
	var got struct {
		Age float64 `json:"proof_age_ms"`
	}
	status, body, err := c.state.Get("/v1/verifier", "")
	if err = cmp.Or(err, json.Unmarshal(body, &got)); err != nil || status != 200 {
		t.Fatalf("%d %v", status, err)
	}
	return time.Duration(got.Age * float64(time.Millisecond))
}

// cpu returns what each part of the system has used.
func (c *scene) cpu(t *testing.T, worker int) map[string]time.Duration {
	parts := map[int]string{os.Getpid(): "prober", worker: "load", c.resource.PID(): "resourcesvc"}
	for _, a := range c.Auth {
		parts[a.PID()] = "authsvc"
	}
	used, err := load.CPU(func(pid int, program string) string {
		if program == "postgres" {
			return "PostgreSQL"
		}
		return cmp.Or(parts[pid], "NATS")
	})
	if err != nil {
		t.Fatal(err)
	}
	return used
}
