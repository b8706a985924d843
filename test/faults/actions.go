package faults

import (
	"context"
	"fmt"
	"slices"

	"github.com/tocsin-auth/tocsin/test/system"
)

// act does one random thing of those that a person with a session can do or suffer.
func (p *person) act(ctx context.Context) {
	s := p.sessions[p.rng.IntN(len(p.sessions))]
	if s.token == "" {
		p.refresh(ctx, s)
		return
	}
	actions := []func(context.Context, *session){
		p.refresh, p.refresh, p.makeKey,
		p.setRoles, p.setRoles, p.setRoles, p.setPlan,
		p.logout, p.logoutAll, p.endSession, p.password,
		p.revokeToken, p.revokeRefreshToken, p.revokeJTI, p.revokeSession, p.revokeSessions, p.revokeUser, p.revokeUsers, p.revokeRole,
		p.disable, p.remove,
	}
	if len(p.keys) > 0 {
		keyed := []func(context.Context, *session){p.suspendKey, p.suspendKey, p.resumeKey, p.resumeKey, p.rotateKey, p.rotateKeySlowly, p.deleteKey, p.revokeKey, p.revokeKeyItself,
			p.revokeHeldToken, p.revokeHeldSession, p.revokeHeldKey}
		actions = append(actions, keyed...)
	}
	actions[p.rng.IntN(len(actions))](ctx, s)
}

func (p *person) drop(s *session) func() {
	return func() { p.sessions = slices.DeleteFunc(p.sessions, func(o *session) bool { return o == s }) }
}

func (p *person) dropAll() { p.sessions = nil }

func (p *person) dropEverything() { p.sessions, p.keys = nil, nil }

func (p *person) logout(ctx context.Context, s *session) {
	p.do(ctx, request{name: "logout", method: "POST", path: "/v1/logout", auth: system.Bearer(s.token), kills: s.tokens}, p.drop(s))
}

func (p *person) logoutAll(ctx context.Context, s *session) {
	p.do(ctx, request{name: "logout all", method: "POST", path: "/v1/logout/all", auth: system.Bearer(s.token), kills: p.tokens(nil), everyToken: true}, p.dropAll)
}

func (p *person) endSession(ctx context.Context, s *session) {
	by := p.sessions[p.rng.IntN(len(p.sessions))]
	if by.token == "" {
		by = s
	}
	p.do(ctx, request{name: "end session", method: "DELETE", path: "/v1/me/sessions/" + s.id, auth: system.Bearer(by.token), kills: s.tokens}, p.drop(s))
}

func (p *person) password(ctx context.Context, s *session) {
	next := fmt.Sprintf("%s, changed %d", p.passphrase, len(p.all))
	p.do(ctx, request{name: "password", method: "POST", path: "/v1/me/password", auth: system.Bearer(s.token),
		body: map[string]string{"current": p.passphrase, "new": next}, kills: p.tokens(s)},
		func() { p.passphrase, p.sessions = next, []*session{s} })
}

// revocation is a change by the selector of the administrator's call.
func (p *person) revocation(ctx context.Context, name string, selector map[string]any, kills []*credential, then func()) {
	p.do(ctx, request{name: name, method: "POST", path: "/v1/admin/revocations", body: selector, kills: kills}, then)
}

func (p *person) revokeToken(ctx context.Context, s *session) {
	p.revocation(ctx, "revoke token", map[string]any{"token": s.token}, s.tokens[len(s.tokens)-1:], p.keepOthers(s))
}

func (p *person) revokeRefreshToken(ctx context.Context, s *session) {
	p.revocation(ctx, "revoke refresh token", map[string]any{"token": s.refresh}, s.tokens, p.drop(s))
}

func (p *person) revokeJTI(ctx context.Context, s *session) {
	p.revocation(ctx, "revoke jti", map[string]any{"jti": jtiOf(s.token)}, s.tokens[len(s.tokens)-1:], p.keepOthers(s))
}

// keepOthers drops a session's last token; the session lives, and its next token comes from a refresh.
func (p *person) keepOthers(s *session) func() {
	return func() { s.token = "" }
}

func (p *person) revokeSession(ctx context.Context, s *session) {
	p.revocation(ctx, "revoke session", map[string]any{"session_id": s.id}, s.tokens, p.drop(s))
}

func (p *person) revokeSessions(ctx context.Context, _ *session) {
	p.do(ctx, request{name: "revoke sessions", method: "POST", path: "/v1/admin/users/" + p.id + "/revoke", kills: p.tokens(nil), everyToken: true}, p.dropAll)
}

func (p *person) revokeUser(ctx context.Context, _ *session) {
	p.revokeEverything(ctx, "revoke user", map[string]any{"user_id": p.id}, p)
}

func (p *person) revokeUsers(ctx context.Context, _ *session) {
	p.revokeEverything(ctx, "revoke users", map[string]any{"user_ids": []string{p.id}}, p)
}

// revokeEverything ends all tokens and keys of one or two persons.
func (p *person) revokeEverything(ctx context.Context, name string, selector map[string]any, of ...*person) {
	var kills []*credential
	for _, one := range of {
		kills = slices.Concat(kills, one.tokens(nil), one.everyKey())
	}
	p.do(ctx, request{name: name, method: "POST", path: "/v1/admin/revocations", body: selector, kills: kills, everyToken: true, peer: len(of) > 1}, func() {
		for _, one := range of {
			one.dropEverything()
		}
	})
}

func (p *person) revokeRole(ctx context.Context, s *session) {
	if p.role == "" {
		p.setRoles(ctx, s)
		return
	}
	of := []*person{p}
	if other := p.peer(); other != nil && other.role == p.role {
		of = append(of, other)
	}
	p.revokeEverything(ctx, "revoke role", map[string]any{"role": p.role}, of...)
}

// peer is the other one of a family, nil where there is none.
func (p *person) peer() *person {
	switch {
	case p.family == nil:
		return nil
	case p.family.user == p:
		return p.family.worker
	}
	return p.family.user
}

func (p *person) setRoles(ctx context.Context, _ *session) {
	number := int(p.roles.Add(1))
	p.haveRole(ctx, fmt.Sprintf("%s%d", rolePrefix, number), number)
}

func (p *person) haveRole(ctx context.Context, role string, number int) {
	p.do(ctx, request{name: "roles", method: "PUT", path: "/v1/admin/users/" + p.id + "/roles",
		body: map[string]any{"roles": append([]string{"user", role}, p.standing...)}, role: number}, func() { p.role, p.number = role, number })
}

func (p *person) setPlan(ctx context.Context, _ *session) {
	plan := []string{"free", "pro", "team"}[p.rng.IntN(3)]
	p.do(ctx, request{name: "plan", method: "PUT", path: "/v1/admin/users/" + p.id + "/plan", body: map[string]any{"plan": plan}}, func() {})
}

func (p *person) disable(ctx context.Context, _ *session) {
	p.do(ctx, request{name: disabling, method: "PUT", path: "/v1/admin/users/" + p.id + "/status",
		body: map[string]any{"disabled": true}, kills: p.tokens(nil), suspends: p.liveKeys(), everyToken: true},
		func() { p.disabled, p.sessions = true, nil })
}

func (p *person) remove(ctx context.Context, _ *session) {
	p.do(ctx, request{name: "delete user", method: "DELETE", path: "/v1/admin/users/" + p.id,
		kills: append(p.tokens(nil), p.everyKey()...), everyToken: true}, func() { p.gone = true })
}
