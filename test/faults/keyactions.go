package faults

import (
	"context"
	"slices"

	"github.com/tocsin-auth/tocsin/test/system"
)

func (p *person) aKey() *key { return p.keys[p.rng.IntN(len(p.keys))] }

func (p *person) makeKey(ctx context.Context, s *session) {
	if len(p.keys) >= 4 {
		return
	}
	began := p.Recorder.Now()
	answer, _, err := p.auth(ctx, p.rng, "POST", "/v1/me/api-keys", system.Bearer(s.token), map[string]any{"name": "another", "mode": "live"})
	if err == nil && answer.Status == 201 {
		p.addKey(began, tokenIn(answer).APIKey)
	}
}

func (p *person) onKey(ctx context.Context, s *session, q request, then func()) system.Answer {
	q.auth = system.Bearer(s.token)
	return p.do(ctx, q, then)
}

func (p *person) suspendKey(ctx context.Context, s *session) {
	k := p.aKey()
	if k.suspended {
		return
	}
	p.onKey(ctx, s, request{name: "suspend key", method: "PATCH", path: "/v1/me/api-keys/" + k.id,
		body: map[string]any{"disabled": true}, suspends: []*credential{k.credential}}, func() { k.suspended = true })
}

func (p *person) resumeKey(ctx context.Context, s *session) {
	for _, k := range p.keys {
		if k.suspended {
			p.onKey(ctx, s, request{name: "resume key", method: "PATCH", path: "/v1/me/api-keys/" + k.id,
				body: map[string]any{"disabled": false}, revives: []*credential{k.credential}}, func() { k.suspended = false })
			return
		}
	}
}

func (p *person) dropKey(k *key) func() {
	return func() { p.keys = slices.DeleteFunc(p.keys, func(o *key) bool { return o == k }) }
}

func (p *person) rotate(ctx context.Context, s *session, name, overlap string, k *key, kills []*credential, then func()) {
	if k.suspended {
		return
	}
	began := p.Recorder.Now()
	answer := p.onKey(ctx, s, request{name: name, method: "POST", path: "/v1/me/api-keys/" + k.id + "/rotate",
		body: map[string]any{"overlap": overlap}, kills: kills}, then)
	if answer.Status == 200 {
		p.addKey(began, tokenIn(answer).APIKey)
	}
}

func (p *person) rotateKey(ctx context.Context, s *session) {
	k := p.aKey()
	p.rotate(ctx, s, "rotate key", "0s", k, []*credential{k.credential}, p.dropKey(k))
}

// rotateKeySlowly leaves the old key alive for longer than any run; it isn't rotated again.
func (p *person) rotateKeySlowly(ctx context.Context, s *session) {
	k := p.aKey()
	p.rotate(ctx, s, "rotate key with overlap", "24h", k, nil, func() {})
}

func (p *person) deleteKey(ctx context.Context, s *session) {
	k := p.aKey()
	p.onKey(ctx, s, request{name: "delete key", method: "DELETE", path: "/v1/me/api-keys/" + k.id, kills: []*credential{k.credential}}, p.dropKey(k))
}

func (p *person) revokeKey(ctx context.Context, _ *session) {
	k := p.aKey()
	p.revocation(ctx, "revoke key", map[string]any{"api_key_id": k.id}, []*credential{k.credential}, p.dropKey(k))
}

func (p *person) revokeKeyItself(ctx context.Context, _ *session) {
	k := p.aKey()
	p.revocation(ctx, "revoke key by itself", map[string]any{"token": k.secret()}, []*credential{k.credential}, p.dropKey(k))
}
