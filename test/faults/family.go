package faults

import (
	"context"
	"math/rand/v2"
	"net/url"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/test/system"
)

const (
	// families are how many users there are for whom a worker of theirs acts.
	families = 2
	// changesOfAFamily bounds how many things happen to one.
	changesOfAFamily = 30
	aJob             = "job"
)

// family is a user and the worker who acts for them: two users of authsvc who live in one goroutine, so that it is known
// of each derived token whether what it rests on had ended before.
type family struct {
	user, worker *person
	derived      []*derived
	grants       []*grant
}

// derived is a token and what it rests on: each of those ends it, and so does whatever ends all tokens of one of its people.
type derived struct {
	*credential
	rests  []*credential
	people []*person
}

// grant is a job grant. Nobody but authsvc takes it, so it isn't among the credentials of the history.
type grant struct {
	*credential
	rests []*credential
}

// beServed registers a user and a worker, lets them live for a while, and leaves them.
func (f *Traffic) beServed(ctx context.Context, rng *rand.Rand) {
	a := f.newFamily(rng)
	defer a.retire()
	for range changesOfAFamily {
		if !pause(ctx, time.Duration(100+rng.IntN(500))*time.Millisecond) || !a.step(ctx) {
			return
		}
	}
}

func (f *Traffic) newFamily(rng *rand.Rand) *family {
	a := &family{user: &person{Traffic: f, rng: rng}, worker: &person{Traffic: f, rng: rng, standing: []string{"queue", "worker", "delegate"}}}
	a.user.family, a.worker.family = a, a
	return a
}

func (a *family) retire() {
	all := slices.Concat(a.user.all, a.worker.all)
	a.user.pool.retire(all)
	a.user.spending.retire(all)
}

// isOver reports whether nobody knows what became of one of them, or they have had all that they may have.
func (a *family) isOver() bool {
	return a.user.gone || a.worker.gone || len(a.user.all) >= 50 || len(a.worker.all) >= 50
}

// step does one thing; false when there is nothing more to do for them.
func (a *family) step(ctx context.Context) bool {
	u := a.user
	u.everybody.RLock()
	defer u.everybody.RUnlock()
	if u.id != "" && u.generation != u.Traffic.generation {
		return false
	}
	switch done, settled := a.settle(ctx); {
	case !settled:
		return done && !a.isOver()
	case u.rng.IntN(5) < 3:
		a.derive(ctx)
	default:
		a.happen(ctx)
	}
	return !a.isOver()
}

// settle does what has to be done before anything can be derived, one thing a time; false when there is nothing more to do
// for them, and whether they are settled.
func (a *family) settle(ctx context.Context) (done, settled bool) {
	u, w := a.user, a.worker
	switch {
	case u.id == "":
		return u.register(ctx), false
	case w.id == "":
		return w.register(ctx) && w.generation == u.generation, false
	case u.disabled:
		u.enable(ctx)
	case w.disabled:
		w.enable(ctx)
	case u.role == "":
		u.setRoles(ctx, nil)
	case w.role == "":
		w.takeRole(ctx)
	case len(u.sessions) == 0:
		u.login(ctx)
	case len(w.sessions) == 0:
		w.login(ctx)
	case len(w.keys) == 0:
		w.getKey(ctx)
	default:
		return true, true
	}
	return true, false
}

// getKey makes a key, unless the session's token is to be renewed before, which may have expired.
func (p *person) getKey(ctx context.Context) {
	s := p.sessions[0]
	if s.token == "" || p.rng.IntN(3) == 0 {
		p.refresh(ctx, s)
		return
	}
	p.makeKey(ctx, s)
}

// happen is one random thing that a family does or suffers.
func (a *family) happen(ctx context.Context) {
	u, w := a.user, a.worker
	switch u.rng.IntN(8) {
	case 0, 1:
		w.takeRole(ctx)
	case 2:
		a.revokeDerived(ctx)
	case 3:
		a.revokeGrant(ctx)
	case 4:
		w.act(ctx)
	default:
		u.act(ctx)
	}
}

// takeRole gives the worker the role of the user, so that what is derived from then on shows it.
func (p *person) takeRole(ctx context.Context) {
	u := p.family.user
	if u.number > p.number {
		p.haveRole(ctx, u.role, u.number)
	}
}

// derive gets a token in one of the ways that there are.
func (a *family) derive(ctx context.Context) {
	u, w := a.user, a.worker
	key, s := w.livingKey(), u.sessions[u.rng.IntN(len(u.sessions))]
	if key == nil {
		return
	}
	both := []*person{u, w}
	ofToken, ofKey := s.tokens[len(s.tokens)-1:], u.livingKey()
	switch way := u.rng.IntN(6); {
	case way == 0 && s.token != "":
		a.exchange(ctx, "exchanged", key, subject(s.token, "urn:ietf:params:oauth:token-type:access_token"), ofToken, both)
	case way == 1 && s.token != "":
		a.mint(ctx, key, subject(s.token, "urn:ietf:params:oauth:token-type:access_token"), ofToken)
	case way == 2 && ofKey != nil:
		a.mint(ctx, key, subject(ofKey.secret(), "urn:tocsin:token-type:api-key"), []*credential{ofKey.credential})
	case way == 3 && ofKey != nil:
		a.exchange(ctx, "client credentials", ofKey, url.Values{"grant_type": {"client_credentials"}}, nil, []*person{u})
	case way == 4:
		a.exchange(ctx, "by user id", key, subject(u.id, "urn:tocsin:token-type:user-id"), nil, both)
	case len(a.grants) > 0:
		g := a.grants[u.rng.IntN(len(a.grants))]
		q := subject(g.secret(), "urn:tocsin:token-type:job-grant")
		q.Set("job_id", aJob)
		a.exchange(ctx, "granted", key, q, append([]*credential{g.credential}, g.rests...), both)
	}
}

// subject is a request of RFC 8693.
func subject(token, kind string) url.Values {
	return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {token}, "subject_token_type": {kind}}
}

// exchange asks for a token, which rests on the client's key as well.
func (a *family) exchange(ctx context.Context, way string, client *key, q url.Values, rests []*credential, people []*person) {
	u := a.user
	began := u.Recorder.Now()
	answer, _, err := u.auth(ctx, u.rng, "POST", "/oauth2/token", client.authorization, q)
	if outcomeOf(answer, err) != Done {
		return
	}
	got := tokenIn(answer)
	i := Issue{Span: Span{Begin: began}, Derived: way, Short: true, Life: time.Duration(got.ExpiresIn) * time.Second}
	if len(people) > 1 {
		i.Actor = a.worker.name
	}
	d := &derived{credential: u.issue(i, system.Bearer(got.AccessToken)), people: people}
	d.rests = append(append(d.rests, rests...), client.credential)
	a.derived = append(a.derived, d)
}

func (a *family) mint(ctx context.Context, client *key, q url.Values, rests []*credential) {
	q.Set("requested_token_type", "urn:tocsin:token-type:job-grant")
	q.Set("job_id", aJob)
	answer, _, err := a.user.auth(ctx, a.user.rng, "POST", "/oauth2/token", client.authorization, q)
	if outcomeOf(answer, err) == Done {
		a.grants = append(a.grants, &grant{&credential{authorization: system.Bearer(tokenIn(answer).AccessToken)}, slices.Clone(rests)})
	}
}

// revokeDerived ends a derived token by itself.
func (a *family) revokeDerived(ctx context.Context) {
	if len(a.derived) == 0 {
		return
	}
	d := a.derived[a.user.rng.IntN(len(a.derived))]
	a.revoke(ctx, "derived token", d.credential, map[string]any{"jti": jtiOf(d.secret())})
}

// revokeGrant ends a job grant, and with it what was exchanged for it.
func (a *family) revokeGrant(ctx context.Context) {
	if len(a.grants) == 0 {
		return
	}
	g := a.grants[a.user.rng.IntN(len(a.grants))]
	a.revoke(ctx, "job grant", g.credential, map[string]any{"token": g.secret()})
}

// revoke is by the administrator, or by the worker as the holder.
func (a *family) revoke(ctx context.Context, what string, c *credential, selector map[string]any) {
	key := a.worker.livingKey()
	if key == nil || a.user.rng.IntN(2) == 0 {
		a.user.revocation(ctx, "revoke "+what, selector, []*credential{c}, func() {})
		return
	}
	a.user.do(ctx, request{name: "revoke held " + what, method: "POST", path: "/oauth2/revoke", auth: key.authorization,
		body: url.Values{"token": {c.secret()}}, kills: []*credential{c}}, func() {})
}

// extend adds to a change what it does to derived tokens.
func (a *family) extend(q *request, by *person) {
	if a == nil {
		return
	}
	kills, suspends, revives := a.restingOn(q.kills), a.restingOn(q.suspends), []*credential(nil)
	for _, d := range a.derived {
		if q.everyToken && slices.ContainsFunc(d.people, func(p *person) bool { return p == by || q.peer && p == by.peer() }) {
			kills = append(kills, d.credential)
		}
		if d.restsOnAny(q.revives) && !a.restsOnSuspended(d, q.revives) {
			revives = append(revives, d.credential)
		}
	}
	q.kills, q.suspends, q.revives = slices.Concat(q.kills, distinct(kills)), slices.Concat(q.suspends, suspends), slices.Concat(q.revives, revives)
}

func (a *family) restingOn(ended []*credential) (all []*credential) {
	for _, d := range a.derived {
		if d.restsOnAny(ended) && !slices.Contains(ended, d.credential) {
			all = append(all, d.credential)
		}
	}
	return all
}

func (d *derived) restsOnAny(ended []*credential) bool {
	return slices.ContainsFunc(d.rests, func(c *credential) bool { return slices.Contains(ended, c) })
}

// restsOnSuspended reports whether a key is still suspended that a token rests on, when some are resumed.
func (a *family) restsOnSuspended(d *derived, resumed []*credential) bool {
	return slices.ContainsFunc(slices.Concat(a.user.keys, a.worker.keys), func(k *key) bool {
		return k.suspended && slices.Contains(d.rests, k.credential) && !slices.Contains(resumed, k.credential)
	})
}

func distinct(cs []*credential) (all []*credential) {
	for _, c := range cs {
		if !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	return all
}
