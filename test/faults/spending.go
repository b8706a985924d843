package faults

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// metered is the plan with limits; the users of all others have none.
	metered = "metered"
	// spenders are how many users have it, each with a worker who spends what is theirs, too.
	spenders = 2
	// spendPause is the mean time between two calls of a route with a quota at an instance.
	spendPause = 40 * time.Millisecond
)

// meters are the limits of the plan, by route.
var meters = []Meter{
	{Resource: "calls", Path: "/v1/whoami/quota", Limit: 20, Window: 10 * time.Second},
	{Resource: "strict-calls", Path: "/v1/whoami/strict", Limit: 20, Window: 10 * time.Second, Strict: true},
}

// setPlans gives the plan its limits, before there is any user.
func (f *Traffic) setPlans(ctx context.Context) {
	var limits []any
	for _, m := range meters {
		limits = append(limits, map[string]any{"resource": m.Resource, "limit": m.Limit, "window": m.Window.String()})
		f.Recorder.Add(m)
	}
	plans := map[string]any{"plans": []any{map[string]any{"name": metered, "limits": limits}}}
	rng := f.rng(9, 0, 0)
	for done := false; !done && pause(ctx, 10*time.Millisecond); {
		answer, _, err := f.auth(ctx, rng, "PUT", "/v1/admin/plans", f.asAdmin(ctx, rng), plans)
		done = outcomeOf(answer, err) == Done
	}
}

// spend registers a user with the plan, and a worker, whose credentials are renewed when they end.
func (f *Traffic) spend(ctx context.Context, rng *rand.Rand) {
	a := f.newFamily(rng)
	defer a.retire()
	for pause(ctx, time.Duration(400+rng.IntN(1000))*time.Millisecond) && a.stepToSpend(ctx) {
	}
}

// stepToSpend does what comes next; false when there is nothing more to do.
func (a *family) stepToSpend(ctx context.Context) bool {
	u := a.user
	u.everybody.RLock()
	defer u.everybody.RUnlock()
	switch {
	case u.id == "" || u.generation == u.Traffic.generation:
	case u.generation < u.unsure: // what is issued from now on may end or not
		return false
	default:
		a.forget()
	}
	switch done, settled := a.settle(ctx); {
	case !settled:
		return done && !a.isOver()
	case !u.metered:
		u.do(ctx, request{name: "plan", method: "PUT", path: "/v1/admin/users/" + u.id + "/plan", body: map[string]any{"plan": metered}},
			func() { u.metered = true })
	case len(u.sessions) > 2:
		u.logout(ctx, u.sessions[0])
	case len(u.keys) < 2:
		u.getKey(ctx)
	case u.rng.IntN(4) == 0:
		u.login(ctx)
	case u.rng.IntN(4) == 0:
		a.revokeDerived(ctx)
	default:
		a.derive(ctx)
	}
	return !a.isOver()
}

// keepSpending calls the routes with a quota of one instance until the context ends.
func (f *Traffic) keepSpending(ctx context.Context, r *Resource, rng *rand.Rand) {
	for pause(ctx, time.Duration(rng.ExpFloat64()*float64(spendPause))) {
		if c := f.spending.pick(rng); c != nil {
			m := meters[rng.IntN(len(meters))]
			f.Recorder.Add(f.request(ctx, r, c, m.Path, Call{Quota: m.Resource}))
		}
	}
}

// forget leaves behind what a change of everybody's trust may have ended.
func (a *family) forget() {
	a.retire()
	for _, p := range []*person{a.user, a.worker} {
		p.dropEverything()
		p.generation = p.Traffic.generation
	}
	a.derived, a.grants = nil, nil
}
