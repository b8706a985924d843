package visibility

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/faults"
	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

// plant is two authsvc and a resource service, whose database and bus can go away.
type plant struct {
	*testing.T
	nats     *natstest.Server
	database *faults.Proxy
	target   string
	auth     []*system.Auth
	resource *system.Resource

	beat  *machine.Beat
	began time.Time
}

func startPlant(t *testing.T) *plant {
	p := &plant{T: t, nats: natstest.Start(t, "resourcesvc"), beat: machine.Listen(), began: time.Now()}
	t.Cleanup(func() { p.beat.Stop() })
	database, err := url.Parse(pgtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	p.target = database.Host
	p.database = faults.StartProxy(t, p.target)
	database.Host = p.database.Addr()
	secret := make([]byte, 32)
	rand.Read(secret)
	env := map[string]string{
		"TOCSIN_DATABASE_URL":     database.String(),
		"TOCSIN_NATS_URL":         p.nats.URL(),
		"TOCSIN_NATS_CREDS":       p.nats.SeedFile(natstest.AuthFeed),
		"TOCSIN_NATS_REPLY_CREDS": p.nats.SeedFile(natstest.AuthReply),
		"TOCSIN_SECRETS_KEY":      hex.EncodeToString(secret),
	}
	first := system.StartAuth(t, env)
	env = maps.Clone(env)
	env["TOCSIN_ISSUER"] = first.Issuer
	p.auth = []*system.Auth{first, system.StartAuth(t, env)}
	p.resource = system.StartResource(t, first, map[string]string{
		"TOCSIN_NATS_CREDS": p.nats.SeedFile("resourcesvc"), "TOCSIN_MAX_STALENESS": "1s",
	})
	return p
}

// logged counts log lines that have all the texts, of both authsvc.
func (p *plant) logged(texts ...string) int {
	return count(p.auth[0].Output(), texts) + count(p.auth[1].Output(), texts)
}

func count(output string, texts []string) (n int) {
	for line := range strings.Lines(output) {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(line, text)
		}
		if all {
			n++
		}
	}
	return n
}

// wait polls, as processes are real, until a line has been logged so often.
func (p *plant) wait(n int, look func(...string) int, texts ...string) {
	p.Helper()
	machine.Await(p, fmt.Sprintf("a line that is logged %d times: %v", n, texts), func() bool { return look(texts...) >= n })
}

func (p *plant) verifier(texts ...string) int { return count(p.resource.Output(), texts) }

// probe asks everything for its readiness again and again, which must not be logged again and again.
func (p *plant) probe() {
	p.Helper()
	for range 20 {
		for _, a := range p.auth {
			a.Do(p, "GET", "/readyz", "", nil)
		}
		p.resource.Do(p, "GET", "/readyz", "", nil)
	}
}

// want counts, unless the machine stood still: then there may have been more changes than this test makes.
func (p *plant) want(n int, look func(...string) int, texts ...string) {
	p.Helper()
	if got := look(texts...); got != n {
		if stood := p.beat.StoodStill(p.began, time.Now()); stood >= machine.Stall {
			p.Logf("logged %d times, not %d, on a machine that stood still for %v: %v", got, n, stood, texts)
			return
		}
		p.Errorf("logged %d times, want %d: %v", got, n, texts)
	}
}

// wantTurns fails the test unless each process logs the two sides of a state in turns, however often it changes.
func (p *plant) wantTurns(one, other []string) {
	p.Helper()
	for _, process := range []*system.Process{p.auth[0].Process, p.auth[1].Process, p.resource.Process} {
		last := 0
		for line := range strings.Lines(process.Output()) {
			side := count(line, one) - count(line, other)
			if side != 0 && side == last {
				p.Errorf("%s logs the same again: %s", process.Name, line)
			}
			if side != 0 {
				last = side
			}
		}
	}
}

func TestEachChangeOfStateIsLoggedOnce(t *testing.T) {
	p := startPlant(t)
	u := p.auth[0].Register(t, "dora")
	p.auth[0].Must(t, 204, "POST", "/v1/logout?wait=published&timeout=30s", u.Auth(), nil)
	p.auth[0].Login(t, &u)
	fresh, ready := system.Status(200, ""), system.Status(200, "")
	p.want(1, p.logged, "this process is the dispatcher")
	p.want(1, p.verifier, "the feed is proven")

	p.database.Aim() // at nothing
	p.database.Cut()
	p.resource.Eventually(t, "GET", "/v1/whoami", u.Auth(), system.Status(503, "stale"))
	for _, a := range p.auth {
		a.Eventually(t, "GET", "/readyz", "", system.Status(503, ""))
	}
	p.wait(2, p.logged, "responders withdrawn")
	p.wait(1, p.verifier, "isn't proven any more") // the state is looked at now and then, each request looks for itself
	p.probe()
	p.database.Aim(p.target)
	p.resource.Eventually(t, "GET", "/v1/whoami", u.Auth(), fresh)
	for _, a := range p.auth {
		a.Eventually(t, "GET", "/readyz", "", ready)
	}
	p.wait(4, p.logged, "elite: answering")
	p.wait(2, p.logged, "the dispatcher goes on")
	p.wait(2, p.verifier, "the feed is proven")
	p.probe()
	p.want(2, p.logged, "not ready", "check=database")
	p.want(2, p.logged, "ready again", "check=database")
	p.want(2, p.logged, "responders withdrawn")
	p.want(4, p.logged, "elite: answering")
	p.want(1, p.logged, "this term is over")
	p.want(2, p.logged, "the dispatcher can't go on")
	p.want(2, p.logged, "this process is the dispatcher")
	p.want(1, p.verifier, "isn't proven any more")
	p.want(2, p.verifier, "the feed is proven")

	p.nats.Stop()
	p.nats.Wipe(t)
	p.wait(1, p.verifier, "disconnected from NATS")
	p.probe()
	p.nats.Restart(t)
	p.wait(1, p.logged, "the stream is complete again")
	p.wait(1, p.verifier, "connected to NATS again")
	for _, a := range p.auth {
		a.Eventually(t, "GET", "/readyz", "", ready)
	}
	p.probe()
	p.want(1, p.logged, "republishing to the stream")
	p.want(1, p.logged, "the stream is complete again")
	p.want(1, p.verifier, "disconnected from NATS")
	p.want(2, p.logged, "not ready", "check=nats")
	p.want(2, p.logged, "ready again", "check=nats")

	holder, other := p.auth[0], p.auth[1]
	if scrape(t, other.API)["tocsin_feed_dispatcher"] == 1 {
		holder, other = other, holder
	}
	terms := p.logged("this process is the dispatcher")
	holder.Stop(t)
	p.wait(terms+1, p.logged, "this process is the dispatcher")
	p.want(1, p.logged, "gives the lease back")
	p.want(0, p.logged, "opened a new epoch")
	other.Eventually(t, "GET", "/readyz", "", ready)

	for _, turns := range [][2][]string{
		{{"responders withdrawn"}, {"elite: answering"}},
		{{"the dispatcher can't go on"}, {"the dispatcher goes on"}},
		{{"not ready", "check=database"}, {"ready again", "check=database"}},
		{{"not ready", "check=nats"}, {"ready again", "check=nats"}},
		{{"the feed isn't proven any more"}, {"the feed is proven"}},
		{{"disconnected from NATS"}, {"msg=\"connected to NATS"}},
	} {
		p.wantTurns(turns[0], turns[1])
	}
}
