package faults

import (
	"context"
	"net/http"
	"net/url"

	"github.com/tocsin-auth/tocsin/test/system"
)

// held is a revocation by RFC 7009: whoever holds a token may end it, by a key of their own.
func (p *person) held(ctx context.Context, name, token string, kills []*credential, then func()) {
	by := p.aKey()
	if by.suspended {
		return
	}
	p.do(ctx, request{name: name, method: "POST", path: "/oauth2/revoke", auth: by.authorization,
		body: url.Values{"token": {token}}, kills: kills}, then)
}

func (p *person) revokeHeldToken(ctx context.Context, s *session) {
	p.held(ctx, "revoke held token", s.token, s.tokens[len(s.tokens)-1:], p.keepOthers(s))
}

func (p *person) revokeHeldSession(ctx context.Context, s *session) {
	p.held(ctx, "revoke held refresh token", s.refresh, s.tokens, p.drop(s))
}

func (p *person) revokeHeldKey(ctx context.Context, _ *session) {
	k := p.aKey()
	if !k.suspended {
		p.held(ctx, "revoke held key", k.secret(), []*credential{k.credential}, p.dropKey(k))
	}
}

// refreshCall draws one of the two calls that take a refresh token.
func (p *person) refreshCall(token string) (path string, body any) {
	if p.rng.IntN(2) == 0 {
		return "/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	}
	return "/v1/token/refresh", map[string]string{"refresh_token": token}
}

func (p *person) useRefreshToken(ctx context.Context, token string) (system.Answer, error) {
	path, body := p.refreshCall(token)
	answer, _, err := p.auth(ctx, p.rng, "POST", path, "", body)
	return answer, err
}

// isRefused reports whether a refresh token was refused: RFC 6749 says so in its own way.
func isRefused(a system.Answer) bool {
	return a.Status == http.StatusUnauthorized || a.Status == http.StatusBadRequest
}
