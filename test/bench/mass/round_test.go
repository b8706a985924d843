package mass

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/bench/fleet"
	"github.com/tocsin-auth/tocsin/test/bench/stage"
	"github.com/tocsin-auth/tocsin/test/system"
)

// bench is one set-up under measurement.
type bench struct {
	*testing.T
	*stage.Stage
	// everyone applies, loaded is used, single is watched for a revocation that comes after.
	everyone, loaded, single *fleet.Fleet
	admin                    system.User
	// bystander's tokens are checked, refresher's are refreshed; lone's is revoked alone; last's goes with the role.
	bystander, refresher, lone, last system.User
	tokens, ids                      []string

	call, each, everywhere, following       figure.Distribution
	firstSent, lastSent                     figure.Distribution
	before, during, applying, worst         fleet.Histogram
	refreshes, revocations, elite           waits
	fleetCall, beforeCall, beforeEverywhere figure.Distribution
	one, oneEverywhere                      figure.Distribution
	oneByOne                                time.Duration // all of them
	oldest                                  time.Duration
	messages, memory                        string
	line                                    figure.Timeline
}

// waits are the longest in the quiet time, and around the call.
type waits struct{ quiet, around time.Duration }

// moments of one round.
type moments struct{ quiet, sent, answered, applied, everywhere time.Time }

func (b *bench) run() {
	b.before, b.during, b.applying, b.worst = fleet.Histogram{}, fleet.Histogram{}, fleet.Histogram{}, fleet.Histogram{}
	a := b.Auth[0]
	b.admin = a.Admin(b)
	b.bystander, b.refresher, b.lone = a.Register(b, "bystander"), a.Register(b, "refresher"), a.Register(b, "lone")
	for i := range *rounds + 1 {
		b.ids = system.Crowd(b, b.DatabaseURL, role(i), *holders-1)
	}
	for range *tokensInUse {
		stage.Refresh(b, a, &b.bystander)
		b.tokens = append(b.tokens, b.bystander.Token)
	}
	b.last = a.Register(b, "last") // the greatest id, which is last in the last event
	b.everyone = b.start(*verifiers)
	b.loaded, b.single = b.start(1), b.start(1)
	for i := range *rounds {
		b.round(i)
	}
	b.waitForFleet(*rounds)
	b.disable()
	b.revokeBefore()
	rss, err := a.RSS()
	if err != nil {
		b.Fatal(err)
	}
	b.memory = megabytes(rss)
}

func role(i int) string { return fmt.Sprintf("mass%d", i) }

func (b *bench) start(n int) *fleet.Fleet {
	cfg := fleet.Config{Issuer: b.Issuer, Credentials: b.Credentials, Bound: bound, Proofs: true, Tokens: 4 * *tokensInUse}
	for range n {
		cfg.URLs = append(cfg.URLs, stage.URL(b.Bus))
	}
	return fleet.Start(b, cfg)
}

// join gives the watched user a role and a new token.
func (b *bench) join(role string) {
	a := b.Auth[0]
	a.Must(b, http.StatusOK, "PUT", "/v1/admin/users/"+b.last.ID+"/roles", b.admin.Auth(), map[string]any{"roles": []string{"user", role}})
	a.Login(b, &b.last)
}

func (b *bench) round(i int) {
	b.Helper()
	a := b.Auth[0]
	b.join(role(i))
	stage.Refresh(b, a, &b.lone)
	for _, f := range []*fleet.Fleet{b.everyone, b.loaded} {
		f.Watch(b, b.last.Token)
		f.Forget(b)
	}
	b.single.Watch(b, b.lone.Token)
	b.loaded.Load(b, fleet.Load{Tokens: b.tokens, Burst: 1000, Pause: time.Millisecond, Elite: callEvery})
	refreshing, revoking := b.refreshing(&b.refresher), b.revoking()
	time.Sleep(200 * time.Millisecond) // caches fill
	heard := listen(b, b.Stage)
	m := moments{quiet: time.Now()}
	time.Sleep(*quiet) // what is measured first is that nothing happens
	m.sent = time.Now()
	a.Must(b, http.StatusOK, "POST", "/v1/admin/revocations?wait=none", b.admin.Auth(), map[string]any{"role": role(i)})
	m.answered = time.Now()
	a.Must(b, http.StatusOK, "POST", "/v1/admin/revocations?wait=none", b.admin.Auth(), map[string]any{"token": b.lone.Token})
	alone := time.Now()
	m.everywhere = b.refused(m.answered)
	gone, _ := b.single.Refusals(b)
	b.following.Add(gone[0].Sub(alone))
	time.Sleep(time.Second) // what it has left behind is seen, too
	slices, elite := b.loaded.Unload(b)
	gone, _ = b.loaded.Refusals(b)
	m.applied = gone[0]
	if gone[0].After(m.everywhere) {
		m.everywhere = gone[0]
	}
	b.each.Add(gone[0].Sub(m.answered))
	b.everywhere.Add(m.everywhere.Sub(m.answered))
	b.call.Add(m.answered.Sub(m.sent))
	b.refreshes.add(m, refreshing.end(b))
	b.revocations.add(m, revoking.end(b))
	b.elite.add(m, elite)
	b.noteProofs(m)
	b.noteChecks(m, slices)
	b.messages = heard.String()
	b.firstSent.Add(heard.first.Sub(m.answered))
	b.lastSent.Add(heard.last.Sub(m.answered))
}

// refused notes when each verifier refused and returns the last time.
func (b *bench) refused(answered time.Time) (last time.Time) {
	all, _ := b.everyone.Refusals(b)
	for _, at := range all {
		b.each.Add(at.Sub(answered))
		if at.After(last) {
			last = at
		}
	}
	return last
}

func (w *waits) add(m moments, calls []fleet.Call) {
	for _, c := range calls {
		switch {
		case c.At.After(m.sent) && c.At.Before(m.everywhere):
			w.around = max(w.around, c.Took)
		case c.At.After(m.quiet) && c.At.Add(c.Took).Before(m.sent):
			w.quiet = max(w.quiet, c.Took)
		}
	}
}

// noteProofs takes in how old a proof became before the next one came.
func (b *bench) noteProofs(m moments) {
	for _, f := range []*fleet.Fleet{b.everyone, b.loaded} {
		for _, member := range f.Report(b) {
			for i := 1; i < len(member.Proofs); i++ {
				if next := member.Proofs[i]; next.At.After(m.sent) {
					b.oldest = max(b.oldest, next.At.Sub(member.Proofs[i-1].Asked))
				}
			}
		}
	}
}

// waitForFleet measures a call that waits until every verifier has proven to have applied it.
func (b *bench) waitForFleet(i int) {
	b.join(role(i))
	b.everyone.Watch(b, b.last.Token)
	sent := time.Now()
	got := b.Auth[0].Must(b, http.StatusOK, "POST", "/v1/admin/revocations?wait=fleet&timeout=20s", b.admin.Auth(), map[string]any{"role": role(i)})
	b.fleetCall.Add(time.Since(sent))
	r := got.Receipt(b)
	if r.Fleet == nil || r.Fleet.Total == nil || r.Fleet.Applied != *r.Fleet.Total || r.Fleet.Applied != *verifiers+2 {
		b.Errorf("receipt %s", got.Header.Get("Tocsin-Receipt"))
	}
	b.everyone.Refusals(b)
}

// revokeBefore ends everything that was issued, by one event, as long as all those users are there.
func (b *bench) revokeBefore() {
	a := b.Auth[0]
	a.Login(b, &b.last)
	b.everyone.Watch(b, b.last.Token)
	sent := time.Now()
	a.Must(b, http.StatusOK, "POST", "/v1/admin/revocations?wait=none", b.admin.Auth(), map[string]any{"all": true})
	answered := time.Now()
	b.beforeCall.Add(answered.Sub(sent))
	gone, _ := b.everyone.Refusals(b)
	for _, at := range gone {
		b.beforeEverywhere.Add(at.Sub(answered))
	}
}

// clients is how many calls run at once when there is one for each user.
const clients = 8

// disable ends users by a call for each, the watched one at last.
func (b *bench) disable() {
	a := b.Auth[0]
	a.Login(b, &b.last)
	b.everyone.Watch(b, b.last.Token)
	ids := make(chan string)
	var calls sync.WaitGroup
	var took [clients]figure.Distribution
	began := time.Now()
	for i := range clients {
		calls.Go(func() {
			for id := range ids {
				sent := time.Now()
				if err := b.setDisabled(id, true); err != nil {
					b.Error(err)
				}
				took[i].Add(time.Since(sent))
			}
		})
	}
	for i := range *oneByOne {
		ids <- b.ids[i%len(b.ids)]
	}
	close(ids)
	calls.Wait()
	b.oneByOne = time.Since(began)
	if err := b.setDisabled(b.last.ID, true); err != nil {
		b.Fatal(err)
	}
	answered := time.Now()
	gone, _ := b.everyone.Refusals(b)
	for _, at := range gone {
		b.oneEverywhere.Add(at.Sub(answered))
	}
	for i := range took {
		b.one.Merge(&took[i])
	}
	if err := b.setDisabled(b.last.ID, false); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) setDisabled(id string, disabled bool) error {
	_, err := b.try("PUT", "/v1/admin/users/"+id+"/status?wait=none", b.admin.Auth(), map[string]any{"disabled": disabled})
	return err
}
