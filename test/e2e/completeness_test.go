package e2e

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/system"
)

// TestOneGuaranteeEveryPathThatEndsTrustEndsItEverywhere walks every path that ends or narrows trust with the real programs:
// its event is on the wire, its audit row names that event, and what dies and what lives at a resource service and at
// authsvc is what the row says, at once when the call has waited for the fleet. What the events and rows hold exactly is
// proven without the programs, by TestEveryPathThatEndsOrNarrowsTrustSendsItsEventAndAudits (authsvc/internal/auth).
func TestOneGuaranteeEveryPathThatEndsTrustEndsItEverywhere(t *testing.T) {
	for engine, env := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			w := &world{auth: system.StartAuth(t, env(t)), used: &usage{called: map[string]bool{}}}
			w.resource = system.StartResource(t, w.auth, resourceDatabase(t, engine))
			w.wire = listen(t, w.auth)
			walkAll(t, w)
			if t.Failed() || w.walked < len(endings()) {
				return // not all was called that would be
			}
			for _, problem := range w.used.complete(callable(t, w.auth)) {
				t.Error(problem)
			}
		})
	}
}

// walkAll begins with what ends everybody's credentials. Then those who need an old token prepare, to be walked last.
func walkAll(t *testing.T, w *world) {
	order := map[bool][]ending{}
	var aged []ending
	for _, p := range endings() {
		if p.aged {
			aged = append(aged, p)
		} else {
			order[p.everybody] = append(order[p.everybody], p)
		}
	}
	users := 0
	next := func(t *testing.T) *stage {
		users++
		return w.stage(t, path("user%d", users))
	}
	walk := func(p ending) {
		t.Run(p.name, func(t *testing.T) {
			s := next(t)
			p.begin(s)
			p.walk(s)
		})
	}
	for _, p := range order[true] {
		walk(p)
	}
	var prepared []*stage
	for _, p := range aged {
		s := next(t)
		p.begin(s)
		prepared = append(prepared, s)
	}
	old := time.Now()
	for _, p := range order[false] {
		walk(p)
	}
	for i, p := range aged {
		t.Run(p.name, func(t *testing.T) {
			time.Sleep(time.Until(old.Add(grace))) // real programs: the grace has to pass by their clock
			prepared[i].t = t
			p.walk(prepared[i])
		})
	}
}

// begin prepares a row. What is derived comes last, unless there is nothing left then to derive it from.
func (p ending) begin(s *stage) {
	s.t.Helper()
	if p.start != "" {
		s.derive()
	}
	if p.prepare != nil {
		p.prepare(s)
	}
	if p.start == "" {
		s.derive()
	}
}

// grace is a little more than the time in which a refresh token may be used again.
const grace = 10*time.Second + 500*time.Millisecond

// walk acts and compares everything that can be seen with what the row says.
func (p ending) walk(s *stage) {
	s.t.Helper()
	s.walked++
	before, roles := s.living()
	if got := strings.Join(before, " "); got != strings.TrimSpace(cmp.Or(p.start, "a b key")) {
		s.t.Fatalf("before: living %q %v", got, roles)
	}
	heard := s.wire.count(s.t)
	p.act(s)

	if p.unawaited {
		p.await(s)
	}
	alive, roles := s.living()
	sent := s.wire.since(s.t, heard)
	var texts []string
	revocations := 0
	for _, e := range sent {
		texts = append(texts, s.names().Replace(said(e)))
		if e.Payload.Type() == "token.revoked" {
			revocations++
		}
	}
	if !slices.Equal(texts, p.events) {
		s.t.Errorf("events on the wire %q, want %q", texts, p.events)
	}
	s.checkAudit(p.audit, len(p.events), revocations)
	if !p.itself {
		s.checkOffspring(p.living)
	}
	alive = append(alive, s.refreshing()...)
	if got := strings.Join(alive, " "); got != p.living {
		s.t.Errorf("living %q, want %q", got, p.living)
	}
	want := p.roles
	if want == nil {
		want = []string{"user"}
	}
	if len(roles) > 0 && !slices.Equal(roles, want) {
		s.t.Errorf("roles seen %q, want %q", roles, want)
	}
	if p.check != nil {
		p.check(s)
	}
}

// await polls for the effect of a path that has no receipt to wait for.
func (p ending) await(s *stage) {
	tokens := slices.DeleteFunc(strings.Fields(p.living), func(name string) bool { return name[0] == 'r' })
	for deadline := time.Now().Add(machine.Patience); time.Now().Before(deadline); {
		ordinary, elite := s.accepted("/v1/whoami"), s.accepted("/v1/whoami/elite")
		if slices.Equal(ordinary, tokens) && slices.Equal(elite, tokens) {
			return
		}
	}
}

// checkAudit compares the audit row with the events, and those that revoke with the list of revocations.
func (s *stage) checkAudit(action string, sent, revocations int) {
	s.t.Helper()
	named, found := s.audited(action)
	if !found {
		s.t.Errorf("no audit row %s", action)
		return
	}
	if action == "password.changed" { // the rows of the sessions that it ends name the events
		named, _ = s.audited("session.ended")
	}
	if len(named) != sent {
		s.t.Errorf("the audit row %s names %d events of %d", action, len(named), sent)
	}
	listed, shown := s.listed(), 0
	for _, id := range named {
		if slices.Contains(listed, id) {
			shown++
		}
	}
	if shown != revocations {
		s.t.Errorf("GET /v1/admin/revocations shows %d of %d", shown, revocations)
	}
}
