package verifier

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/defect"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
)

const (
	// keyLife is how long a resolution may be used. Events that concern keys live at least twice as long, so that no
	// resolution outlives one that would have killed it.
	keyLife = follower.KeyLife
	// renewAfter leaves more than the largest B of life: an outage shorter than B costs no key in use.
	renewAfter = keyLife / 2
	// dropAfter removes what nobody used, so that whatever is in the cache has the largest B of life left.
	dropAfter = keyLife - events.MaxBound
	// unknownLife is how long authsvc isn't asked again about a key that it doesn't know.
	unknownLife = 10 * time.Second
	// unknownKeys bounds how many such keys are remembered. They have a cache of their own.
	unknownKeys = 1 << 12
	// askTimeout bounds each question to authsvc.
	askTimeout = time.Second
	// resolveLimit bounds the resolutions in flight, renewals aside.
	resolveLimit = 64
)

// unknown marks a key that authsvc didn't know.
type unknown struct{ asked clock.Reading }

func unknownSince(asked clock.Reading) *heldUnknown {
	return &heldUnknown{Value: unknown{asked}}
}

func (v *Verifier) verifyKey(ctx context.Context, raw string, route *Route) (*Principal, tally, error) {
	if len(raw) != apikey.Length {
		return nil, tally{}, ErrMalformed
	}
	h, p, err := judgeCached(v, v.keys, raw, route)
	t := tallyOf(h)
	if h == nil {
		if h, err = v.newKey(ctx, raw, route); err != nil {
			return nil, t, err
		}
		p, err = v.judge(h, route, nil)
	}
	if err == errOutlived {
		v.keys.Delete(raw, h)
		if h, err = v.newKey(ctx, raw, route); err != nil {
			return nil, tally{}, err
		}
		t.hit = false
		p, err = v.judge(h, route, nil)
	}
	h.note(t.hit, err)
	switch err {
	case errStaleAsk:
		p, err = v.askBounded(func() (*Principal, error) { return v.askKey(ctx, raw, route) })
	case errOutlived:
		err = ErrAuthUnavailable // outlived as soon as it came: this process hardly runs, so don't insist
	}
	return p, t, err
}

// newKey asks authsvc whose a key is that isn't in the cache.
func (v *Verifier) newKey(ctx context.Context, raw string, route *Route) (*holding, error) {
	v.counters.miss()
	if err := v.precheckKey(raw); err != nil {
		return nil, err
	}
	if route.policy == Deny && !v.fresh(route) {
		return nil, ErrStale // whatever authsvc would say: spare it the question
	}
	return v.resolve(ctx, raw)
}

// precheckKey refuses what needs no question: keys that authsvc didn't know a moment ago, and bad checksums.
func (v *Verifier) precheckKey(raw string) error {
	if u := v.unknown.Get(raw); u != nil && v.clock.Now().Since(u.asked) < unknownLife {
		return ErrUnknownKey
	}
	if _, err := apikey.Parse(raw); err != nil {
		return ErrMalformed
	}
	return nil
}

// outlived reports whether a resolution is too old to be used, or was made before the feed leapt over events that
// could have concerned it.
func (v *Verifier) outlived(h *holding, now clock.Reading) bool {
	return h.isKey && (h.generation != v.generation.Load() && !defect.Generation || now.Since(h.asked) >= keyLife && !defect.FillLimit)
}

// resolve asks authsvc whose a key is. Callers with the same key share one question.
func (v *Verifier) resolve(ctx context.Context, raw string) (*holding, error) {
	flight := v.flights.DoChan(raw, func() (any, error) {
		if !v.begin() {
			return nil, ErrAuthUnavailable
		}
		defer v.end()
		ctx, cancel := context.WithTimeout(v.life, askTimeout)
		defer cancel()
		select {
		case v.resolving <- struct{}{}:
		case <-ctx.Done():
			return nil, ErrAuthUnavailable
		}
		defer func() { <-v.resolving }()
		return v.fetchKey(ctx, raw)
	})
	select {
	case r := <-flight:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*holding), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrAuthUnavailable, ctx.Err())
	}
}

// fetchKey asks, and remembers what it learns. The generation and the clock are read before the question is sent, so
// that what happens meanwhile counts against the answer.
func (v *Verifier) fetchKey(ctx context.Context, raw string) (*holding, error) {
	r := v.resolution()
	v.counters.resolves.Add(1)
	answer, err := v.askResolve(ctx, raw)
	switch {
	case errors.Is(err, ErrUnknownKey):
		v.unknown.Put(raw, unknownSince(r.asked), r.asked.Boot, r.asked.Boot+int64(unknownLife))
		return nil, err
	case err != nil:
		v.counters.unavailable.Add(1)
		return nil, err
	}
	e, err := holdKey(answer.User, answer.Key, r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAuthUnavailable, err)
	}
	v.keys.Put(raw, e, r.asked.Boot, r.asked.Boot+int64(keyLife))
	return &e.Value, nil
}

// resolution is one that begins now.
func (v *Verifier) resolution() resolution {
	return resolution{generation: v.generation.Load(), asked: v.clock.Now()}
}

func (v *Verifier) askResolve(ctx context.Context, raw string) (events.ResolveAnswer, error) {
	nonce := events.NewNonce()
	request, err := json.Marshal(events.ResolveRequest{Nonce: nonce, KeyHash: events.HashOf([]byte(raw))})
	if err != nil {
		return events.ResolveAnswer{}, fmt.Errorf("%w: %w", ErrAuthUnavailable, err)
	}
	body, err := v.link.Request(ctx, events.KindResolve, events.ResolveSubject(v.service), request)
	if err != nil {
		return events.ResolveAnswer{}, fmt.Errorf("%w: %w", ErrAuthUnavailable, err)
	}
	answer, err := events.DecodeResolveAnswer(body)
	switch {
	case err != nil:
		return answer, fmt.Errorf("%w: %w", ErrAuthUnavailable, err)
	case answer.Nonce != nonce || answer.Request != events.HashOf(request):
		return answer, fmt.Errorf("%w: %w", ErrAuthUnavailable, errOtherQuestion)
	case !answer.Found:
		return answer, ErrUnknownKey
	}
	return answer, nil
}

// errOtherQuestion marks an answer that is signed but belongs to another question.
var errOtherQuestion = errors.New("answer to another question")

// tendKeys renews the resolutions that are in use and half over, drops those that nobody used, and notes which were accepted.
func (v *Verifier) tendKeys(ctx context.Context) {
	now := v.clock.Now()
	v.unknown.Sweep(now.Boot)
	var due []renewal
	for raw, h := range v.keys.All() {
		age := now.Since(h.asked)
		if h.use.Load()&accepted != 0 {
			h.use.And(^uint32(accepted))
			v.uses.note(h.key.ID, now)
		}
		switch {
		case h.generation != v.generation.Load() || age >= dropAfter && h.use.Load()&presented == 0:
			v.keys.Delete(raw, h)
		case age >= renewAfter && h.use.Load()&presented != 0:
			due = append(due, renewal{raw, h})
		}
	}
	v.renewAll(ctx, due)
}

// renewal is a resolution that is to be asked for again.
type renewal struct {
	raw string
	*holding
}

// maxRenewFailures ends a round: authsvc seems to be away.
const maxRenewFailures = 4

// renewAll begins with those that haven't failed, so that none that fails every time keeps the others waiting, in this
// round or the next; among these with the oldest.
func (v *Verifier) renewAll(ctx context.Context, due []renewal) {
	slices.SortFunc(due, func(a, b renewal) int {
		return cmp.Or(cmp.Compare(a.failures.Load(), b.failures.Load()), cmp.Compare(a.asked.Boot, b.asked.Boot))
	})
	failed := 0
	for _, r := range due {
		if v.renew(ctx, r.raw, r.holding) {
			continue
		}
		r.failures.Add(1)
		if failed++; failed == maxRenewFailures || ctx.Err() != nil {
			return
		}
	}
}

// renew reports whether authsvc answered.
func (v *Verifier) renew(ctx context.Context, raw string, h *holding) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err := v.fetchKey(ctx, raw)
	if errors.Is(err, ErrUnknownKey) {
		v.keys.Delete(raw, h)
		return true
	}
	return err == nil
}
