package faults

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tocsin-auth/tocsin/test/system"
)

// person is one user from registration until nobody knows any more what became of it.
type person struct {
	*Traffic
	rng              *rand.Rand
	name, passphrase string
	id               string
	generation       int
	sessions         []*session
	keys             []*key
	all              []*credential
	role             string
	number           int      // of that role
	standing         []string // roles that it always has, besides user
	disabled         bool
	gone             bool    // deleted, or a change had an unknown outcome
	family           *family // nil: nothing is derived for this one
	metered          bool    // what is issued from now on spends a quota
}

type session struct {
	id, refresh, token string
	tokens             []*credential
	spent              string        // a refresh token that was used, the first one
	spentAt            time.Duration // when its use had returned
}

type key struct {
	*credential
	id        string
	suspended bool
}

// changesOfALife bounds how many changes a person sees.
const changesOfALife = 14

// live registers a person, who uses and loses credentials and is then left alone; callers go on trying them for a while.
func (f *Traffic) live(ctx context.Context, rng *rand.Rand) {
	p := &person{Traffic: f, rng: rng}
	for range changesOfALife {
		if !pause(ctx, time.Duration(200+rng.IntN(800))*time.Millisecond) {
			return
		}
		if !p.step(ctx) {
			break
		}
	}
	f.pool.retire(p.all)
}

// step does one thing; false when there is nothing more to do for this person.
func (p *person) step(ctx context.Context) bool {
	p.everybody.RLock()
	defer p.everybody.RUnlock()
	switch {
	case p.id == "":
		return p.register(ctx)
	case p.generation != p.Traffic.generation:
		return false
	case p.disabled:
		p.enable(ctx)
	case len(p.sessions) == 0 || (len(p.sessions) < 3 && p.rng.IntN(4) == 0):
		p.login(ctx)
	default:
		p.act(ctx)
	}
	return !p.gone && len(p.all) < 60
}

func (p *person) register(ctx context.Context) bool {
	p.generation = p.Traffic.generation
	p.name = fmt.Sprintf("user%d", p.serial.Add(1))
	p.passphrase = "a long enough passphrase " + p.name
	began := p.Recorder.Now()
	answer, _, err := p.auth(ctx, p.rng, "POST", "/v1/register", "", map[string]string{"username": p.name, "password": p.passphrase})
	if err != nil || answer.Status != 201 {
		return false
	}
	made := tokenIn(answer)
	p.id = made.User.ID
	for _, k := range made.APIKeys {
		if k.Mode == "live" {
			p.addKey(began, k)
		}
	}
	return true
}

func (p *person) addKey(began time.Duration, k apiKey) {
	c := p.issue(Issue{Span: Span{Begin: began}, Key: true}, system.Key(k.Key))
	p.keys = append(p.keys, &key{credential: c, id: k.ID})
}

// issue records a credential that a call has just returned.
func (p *person) issue(i Issue, authorization string) *credential {
	c := &credential{name: fmt.Sprintf("%s.%d", p.name, len(p.all)), user: p.name, subject: p.id, authorization: authorization, key: i.Key}
	i.End, i.Credential, i.User = p.Recorder.Now(), c.name, p.name
	p.Recorder.Add(i)
	p.all = append(p.all, c)
	p.pool.add(c)
	if p.metered {
		p.spending.add(c)
	}
	return c
}

func (p *person) login(ctx context.Context) {
	began := p.Recorder.Now()
	answer, _, err := p.auth(ctx, p.rng, "POST", "/v1/login", "", map[string]string{"username": p.name, "password": p.passphrase})
	if err != nil || answer.Status != 200 {
		return
	}
	got := tokenIn(answer)
	s := &session{id: got.SessionID}
	p.sessions = append(p.sessions, s)
	p.renew(s, began, got)
}

// renew adds a token to a session.
func (p *person) renew(s *session, began time.Duration, got issued) {
	s.refresh, s.token = got.RefreshToken, got.AccessToken
	short := time.Duration(got.ExpiresIn)*time.Second < shortest
	s.tokens = append(s.tokens, p.issue(Issue{Span: Span{Begin: began}, Short: short}, system.Bearer(got.AccessToken)))
}

// refresh uses a session's refresh token, by either of the two calls that take one. When it is refused, one of unknown
// outcome was before it, too long ago to be repeated; so this was a reuse, and ended the session.
func (p *person) refresh(ctx context.Context, s *session) {
	began := p.Recorder.Now()
	answer, err := p.useRefreshToken(ctx, s.refresh)
	switch {
	case outcomeOf(answer, err) == Done:
		if s.spent == "" {
			s.spent, s.spentAt = s.refresh, p.Recorder.Now()
		}
		p.renew(s, began, tokenIn(answer))
	case isRefused(answer):
		q := request{kills: s.tokens}
		p.family.extend(&q, p)
		p.Recorder.Add(Change{Span: Span{began, p.Recorder.Now()}, Name: "refresh refused", User: p.name, Status: answer.Status,
			Outcome: Unknown, Kills: names(q.kills)})
		p.drop(s)()
	}
}

// tokens are the tokens of all sessions but one.
func (p *person) tokens(but *session) []*credential {
	var all []*credential
	for _, s := range p.sessions {
		if s != but {
			all = append(all, s.tokens...)
		}
	}
	return all
}

// liveKeys are the keys that aren't suspended.
func (p *person) liveKeys() []*credential {
	var all []*credential
	for _, k := range p.keys {
		if !k.suspended {
			all = append(all, k.credential)
		}
	}
	return all
}

// livingKey is one that isn't suspended, nil while there is none.
func (p *person) livingKey() *key {
	for _, k := range p.keys {
		if !k.suspended {
			return k
		}
	}
	return nil
}

func (p *person) everyKey() []*credential {
	var all []*credential
	for _, k := range p.keys {
		all = append(all, k.credential)
	}
	return all
}

// enable undoes a disable: sessions stay dead, keys that weren't suspended themselves live again.
func (p *person) enable(ctx context.Context) {
	p.do(ctx, request{name: enabling, method: "PUT", path: "/v1/admin/users/" + p.id + "/status",
		body: map[string]any{"disabled": false}, revives: p.liveKeys()}, func() { p.disabled = false })
}

// do makes a change of this person; then says what is true if it was done.
func (p *person) do(ctx context.Context, q request, then func()) system.Answer {
	q.user = p.name
	p.family.extend(&q, p)
	outcome, answer := p.change(ctx, p.rng, q)
	switch outcome {
	case Done:
		then()
	case Unknown:
		p.gone = true
	}
	return answer
}

func decodeSegment(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(s) }
