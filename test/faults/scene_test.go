package faults

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

// scene is a system without traffic, in which a test does one thing after the other: what only chance would bring about
// in a run. What it does is recorded, and judged by the same validators.
type scene struct {
	*System
	t     testing.TB
	admin string
	all   []*credential
}

// play starts a system without some defences, lets something happen in it, tries every credential everywhere, and
// returns what the validators complain of, and how long the machine stood still meanwhile.
func (a anomaly) play(t testing.TB, authDefects, resourceDefects string) (violations []Violation, stood time.Duration) {
	const bound = 3 * time.Second
	s := &scene{t: t, System: &System{Name: a.setUp, Recorder: NewRecorder(bound), bound: bound, points: points(t.TempDir()), memory: &Memory{}, beat: machine.Listen(),
		authDefects: authDefects, resourceDefects: resourceDefects}}
	defer s.beat.Stop()
	SetUps[a.setUp](s.System, t)
	s.admin = s.Auth[0].Admin(t).Auth()
	began := s.Recorder.Now()
	a.happens(s)
	s.Recorder.Add(Fault{Span: Span{began, s.Recorder.Now()}, Kind: a.defence, Name: a.defence})
	s.calm() // B later, nothing of it may be left
	s.sweep()
	s.standstills()
	stood = s.beat.Stop()
	broken := Validate(s.Recorder.History()).Broken
	return slices.DeleteFunc(broken, func(v Violation) bool { return v.Promise == "OneGuarantee" }), stood // a scene needn't have everything
}

// afterB waits until B, and what a call may take, has passed since the change before.
func (s *scene) afterB() { pause(s.t.Context(), s.bound+200*time.Millisecond) }

// calm is afterB on a machine that ran all the while.
func (s *scene) calm() {
	for deadline := time.Now().Add(patience); ; {
		began := time.Now()
		s.afterB()
		if now := time.Now(); s.beat.StoodStill(began, now) < machine.Stall || now.After(deadline) {
			return
		}
	}
}

func (s *scene) sweep() {
	began := s.Recorder.Now()
	for _, r := range s.Resources {
		for _, c := range s.all {
			s.decided(s.t.Context(), r, c, false)
			s.decided(s.t.Context(), r, c, true)
		}
	}
	s.Recorder.Add(Sweep{Span{began, s.Recorder.Now()}})
}

// user registers one.
func (s *scene) user(name string) *credential {
	s.t.Helper()
	began, u := s.Recorder.Now(), s.Auth[0].Register(s.t, "user-"+name)
	return s.issued(Issue{Span: Span{Begin: began}, Credential: name, User: name}, u)
}

// issued records a credential, which every service accepts.
func (s *scene) issued(i Issue, u system.User) *credential {
	s.t.Helper()
	c := &credential{name: i.Credential, user: i.User, subject: u.ID, authorization: u.Auth()}
	i.End = s.Recorder.Now()
	s.Recorder.Add(i)
	s.all = append(s.all, c)
	for _, r := range s.Resources {
		s.accepted(r, c, false)
		s.accepted(r, c, true)
	}
	return c
}

// accepted calls until a service accepts, which on a slow machine may not be fresh yet.
func (s *scene) accepted(r *Resource, c *credential, elite bool) {
	s.t.Helper()
	machine.Await(s.t, c.name+" accepted by "+r.Instance, func() bool {
		got := s.call(s.t.Context(), r, c, elite)
		if got.Refused() {
			s.t.Fatalf("%s at %s: %d %s", c.name, r.Instance, got.Status, got.Code)
		}
		return got.Accepted()
	})
}

// ordinary calls the first resource service on an ordinary route.
func (s *scene) ordinary(c *credential) { s.call(s.t.Context(), s.Resources[0], c, false) }

// derive has a worker exchange a user's token.
func (s *scene) derive(c *credential) *credential {
	s.t.Helper()
	began, worker := s.Recorder.Now(), s.Auth[0].Register(s.t, "worker")
	var got issued
	s.Auth[0].Must(s.t, 200, "POST", "/oauth2/token", system.Key(worker.LiveKey),
		subject(c.secret(), "urn:ietf:params:oauth:token-type:access_token")).Into(s.t, &got)
	return s.issued(Issue{Span: Span{Begin: began}, Credential: c.name + " derived", User: c.user, Derived: "exchanged", Actor: "worker"},
		system.User{ID: c.subject, Token: got.AccessToken})
}

// metered registers a user with a plan of one limit.
func (s *scene) metered(name string, m Meter) *credential {
	s.t.Helper()
	limit := map[string]any{"resource": m.Resource, "limit": m.Limit, "window": m.Window.String()}
	s.Auth[0].Must(s.t, 200, "PUT", "/v1/admin/plans", s.admin, map[string]any{"plans": []any{map[string]any{"name": metered, "limits": []any{limit}}}})
	c := s.user(name)
	s.Auth[0].Must(s.t, 200, "PUT", "/v1/admin/users/"+c.subject+"/plan", s.admin, map[string]any{"plan": metered})
	s.Recorder.Add(m)
	return c
}

// spend calls a service until it has accepted as many as the limit, or says that this is reached.
func (s *scene) spend(r *Resource, c *credential, m Meter) {
	s.t.Helper()
	accepted := 0
	machine.Await(s.t, "the end of a quota at "+r.Instance, func() bool {
		done := s.request(s.t.Context(), r, c, m.Path, Call{Quota: m.Resource})
		s.Recorder.Add(done)
		if done.Accepted() {
			accepted++
		}
		return accepted == m.Limit || done.Status == 429
	})
}

// revoke ends a token by an authsvc's call, which has to return, and with it what was derived from it.
func (s *scene) revoke(a *system.Auth, c *credential, wait string, derived ...*credential) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	done := Change{Span: Span{Begin: s.Recorder.Now()}, Name: "revoke token", Replica: a.Base, User: c.user, Kills: append(names(derived), c.name), Outcome: Done}
	answer, err := a.Try(ctx, "POST", "/v1/admin/revocations?timeout=20s&wait="+wait, s.admin,
		map[string]any{"token": c.authorization[len(system.Bearer("")):]})
	if err != nil || answer.Status >= 300 {
		s.t.Fatalf("revoking %s: %v %v", c.name, answer, err)
	}
	done.End, done.Status = s.Recorder.Now(), answer.Status
	s.Recorder.Add(done)
}

// leave cuts the first resource service off from the bus: what is published meanwhile it doesn't get later.
func (s *scene) leave() {
	for _, p := range s.Resources[0].bus {
		p.Hold(true, true)
		p.Cut()
	}
	s.until(func(v said) bool { return !v.Connected })
}

// comeBack ends that; it has asked for a proof when it returns.
func (s *scene) comeBack() {
	hold(s.Resources[0].bus, false, false)
	s.until(func(v said) bool { return v.Connected })
}

// said is what a resource service says of itself.
type said struct {
	State     string
	Connected bool
	Applied   uint64 `json:"applied_seq"`
}

// until asks the first resource service until it says something; nothing else tells.
func (s *scene) until(so func(said) bool) {
	s.t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if so(s.ask()) {
			return
		}
		if time.Now().After(limit) {
			s.t.Fatalf("%s still says %+v", s.Resources[0].Instance, s.ask())
		}
	}
}

func (s *scene) ask() (v said) {
	s.t.Helper()
	if err := json.Unmarshal(s.Resources[0].Do(s.t, "GET", "/v1/verifier", "", nil).Body, &v); err != nil {
		s.t.Fatal(err)
	}
	return v
}

// dispatcher tells who holds the lease, by whose hands an event passes.
func (s *scene) dispatcher() (holder, other *system.Auth) {
	s.t.Helper()
	s.points.ask(s.t, "live", "hold")
	s.revoke(s.Auth[0], s.user("somebody"), "none")
	pid := s.points.await(s.t, "live")
	s.points.release("live")
	i := slices.IndexFunc(s.Auth, func(a *system.Auth) bool { return a.PID() == pid })
	return s.Auth[i], s.Auth[1-i]
}

// standStill makes the dispatcher stop, without its process, once a revocation has a number.
func (s *scene) standStill(c *credential) (goOn func()) {
	s.points.ask(s.t, "numbered", "hold")
	s.revoke(s.Auth[0], c, "none")
	s.points.await(s.t, "numbered")
	return func() { s.points.release("numbered") }
}

// restart starts an authsvc that was killed.
func (s *scene) restart(a *system.Auth) {
	a.Kill()
	a.Restart(s.t)
}

// backUp copies the database; the returned function puts the copy in its place, and loses the stream.
func (s *scene) backUp() (restore func()) {
	a, copied := s.Auth[0], s.t.TempDir()
	a.Kill()
	copyDatabase(s.t, a.DataDir, copied)
	a.Restart(s.t)
	return func() {
		a.Kill()
		copyDatabase(s.t, copied, a.DataDir)
		if err := os.RemoveAll(filepath.Join(a.DataDir, "nats", "jetstream")); err != nil {
			s.t.Fatal(err)
		}
		a.Restart(s.t)
	}
}

// copyDatabase copies SQLite's files. The index of the log is made anew.
func copyDatabase(t testing.TB, from, to string) {
	t.Helper()
	os.Remove(filepath.Join(to, "tocsin.db-shm"))
	for _, name := range []string{"tocsin.db", "tocsin.db-wal"} {
		content, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// freeze stops the first resource service for longer than B.
func (s *scene) freeze() {
	r := s.Resources[0]
	r.Freeze(s.t)
	s.afterB()
	r.Signal(syscall.SIGCONT)
}
