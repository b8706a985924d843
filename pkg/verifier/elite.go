package verifier

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
)

// askBounded runs an elite question for a route that is only stale, if not too many run already.
func (v *Verifier) askBounded(ask func() (*Principal, error)) (*Principal, error) {
	select {
	case v.asking <- struct{}{}:
		defer func() { <-v.asking }()
		return ask()
	default:
		return nil, ErrStale
	}
}

// askToken has authsvc decide a token whose signature and claims were verified here.
func (v *Verifier) askToken(ctx context.Context, h *holding, route *Route) (*Principal, error) {
	p, _, err := v.askAboutToken(ctx, h, route)
	if err != nil {
		return nil, err
	}
	return p, v.spend(route, h.subject, v.clock.Now())
}

// askAboutToken also returns what authsvc said.
func (v *Verifier) askAboutToken(ctx context.Context, h *holding, route *Route) (*Principal, events.CheckAnswer, error) {
	if v.deadForGood(h) {
		return nil, events.CheckAnswer{}, ErrRevoked
	}
	answer, err := v.check(ctx, h.question())
	if err != nil {
		return nil, answer, err
	}
	if answer.User.ID != h.principal.Subject {
		return nil, answer, fmt.Errorf("%w: %w", ErrAuthUnavailable, errOtherQuestion)
	}
	p := h.as(answer.User.Roles, answer.User.Plan)
	if err := v.admit(p, route); err != nil {
		return nil, answer, err
	}
	return p, answer, inTime(v.timeOf(answer), h.notBefore, min(h.expires, endOf(answer)))
}

// deadForGood reports whether the set knows a revocation that nothing can undo, so that authsvc needn't be asked.
// Suspensions and roles are left to it: what this process knows of them may be older than the question.
func (v *Verifier) deadForGood(h *holding) bool {
	for _, c := range h.chain {
		c.KeyID = events.ID{}
		if v.set.Token(c).Revoked {
			return true
		}
	}
	return false
}

// question is what authsvc has to know of a token.
func (h *holding) question() events.CheckRequest {
	own := h.chain[0]
	q := events.CheckRequest{
		Kid: h.kid, JTI: own.JTI.String(), SessionID: text(own.SessionID), Subject: own.Subject.String(), TV: own.TV,
		KeyID: text(own.KeyID), Mode: h.principal.Mode,
	}
	for _, c := range h.chain[1:] {
		q.Parents = append(q.Parents, parentOf(c))
	}
	return q
}

func parentOf(c revset.Credential) events.Parent {
	return events.Parent{JTI: text(c.JTI), SessionID: text(c.SessionID), Subject: text(c.Subject), TV: c.TV, KeyID: text(c.KeyID)}
}

func (v *Verifier) verifyKeyElite(ctx context.Context, raw string, route *Route) (*Principal, error) {
	if len(raw) != apikey.Length {
		return nil, ErrMalformed
	}
	if err := v.precheckKey(raw); err != nil {
		return nil, err
	}
	return v.askKey(ctx, raw, route)
}

// askKey has authsvc decide an API key whose checksum was verified here.
func (v *Verifier) askKey(ctx context.Context, raw string, route *Route) (*Principal, error) {
	h, _, err := v.askAboutKey(ctx, raw, route)
	if err != nil {
		return nil, err
	}
	now := v.clock.Now()
	if err := v.spend(route, h.subject, now); err != nil {
		return nil, err
	}
	v.uses.note(h.key.ID, now)
	return &h.principal, nil
}

// askAboutKey returns a resolution, as good as one that was asked for alone, and what authsvc said. The generation and
// the clock are read before the question is sent, as in fetchKey.
func (v *Verifier) askAboutKey(ctx context.Context, raw string, route *Route) (*holding, events.CheckAnswer, error) {
	hash, r := events.HashOf([]byte(raw)), v.resolution()
	answer, err := v.check(ctx, events.CheckRequest{KeyHash: &hash})
	if err == ErrUnknownKey {
		v.unknown.Put(raw, unknownSince(r.asked), r.asked.Boot, r.asked.Boot+int64(unknownLife))
	}
	if err != nil {
		return nil, answer, err
	}
	if answer.Key == nil {
		return nil, answer, fmt.Errorf("%w: active key without its description", ErrAuthUnavailable)
	}
	e, err := holdKey(answer.User, answer.Key, r)
	if err != nil {
		return nil, answer, fmt.Errorf("%w: %w", ErrAuthUnavailable, err)
	}
	h := &e.Value
	return h, answer, v.admitKey(h, route, answer)
}

// admitKey judges a key by authsvc's answer alone.
func (v *Verifier) admitKey(h *holding, route *Route, answer events.CheckAnswer) error {
	if h.disabled || h.key.Suspended {
		return ErrRevoked
	}
	if err := v.admit(&h.principal, route); err != nil {
		return err
	}
	expires := h.expires
	if h.key.NotAfter > 0 {
		expires = h.key.NotAfter
	}
	return inTime(v.timeOf(answer), h.notBefore, expires)
}

// timeOf is the guarded clock of an elite decision: the later of own wall time and authsvc's.
func (v *Verifier) timeOf(answer events.CheckAnswer) int64 {
	return max(v.clock.Now().Micros(), answer.Now)
}

// check asks, and returns an answer that is active and belongs to the question. Whatever isn't a plain refusal or a
// plain yes is [ErrAuthUnavailable].
func (v *Verifier) check(ctx context.Context, q events.CheckRequest) (events.CheckAnswer, error) {
	v.counters.elite.Add(1)
	answer, err := v.askCheck(ctx, q)
	if err != nil {
		v.counters.unavailable.Add(1)
		return answer, fmt.Errorf("%w: %w", ErrAuthUnavailable, err)
	}
	if !answer.Active {
		return answer, refusalFor(answer.Reason)
	}
	if answer.User.Disabled {
		return answer, ErrRevoked
	}
	return answer, nil
}

// askAgainAfter is how long a question may be without an answer before it is taken for lost.
const askAgainAfter = 400 * time.Millisecond

// askCheck asks, and once more when the question is lost with the replica, or the node of the bus, that it was on its way
// to. Both answers are good: each is a read that begins after the call did.
func (v *Verifier) askCheck(ctx context.Context, q events.CheckRequest) (events.CheckAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	first, end := context.WithTimeout(ctx, askAgainAfter)
	defer end()
	answer, err := v.askCheckOnce(first, q)
	if err == nil || first.Err() == nil || ctx.Err() != nil {
		return answer, err
	}
	return v.askCheckOnce(ctx, q)
}

func (v *Verifier) askCheckOnce(ctx context.Context, q events.CheckRequest) (events.CheckAnswer, error) {
	q.Nonce = events.NewNonce()
	request, err := json.Marshal(q)
	if err != nil {
		return events.CheckAnswer{}, err
	}
	body, err := v.link.Request(ctx, events.KindCheck, events.CheckSubject(v.service), request)
	if err != nil {
		return events.CheckAnswer{}, err
	}
	answer, err := events.DecodeCheckAnswer(body)
	if err == nil && (answer.Nonce != q.Nonce || answer.Request != events.HashOf(request)) {
		err = errOtherQuestion
	}
	return answer, err
}

// refusalFor maps the reasons that authsvc gives. One that this version doesn't know is no permission.
func refusalFor(reason events.Reason) error {
	switch reason {
	case events.ReasonRevoked:
		return ErrRevoked
	case events.ReasonExpired:
		return ErrExpired
	case events.ReasonUnknownKey:
		return ErrUnknownKey
	case events.ReasonInvalidToken:
		return ErrInvalidToken
	}
	return fmt.Errorf("%w: refused for an unknown reason", ErrAuthUnavailable)
}
