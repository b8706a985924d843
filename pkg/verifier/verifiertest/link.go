package verifiertest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
	verifierlink "github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
)

// link stands where the verifier's connection is. It has no goroutine and is safe for concurrent use. The real one, over signed messages in
// memory, would test the feed once more, and cost what tests of handlers need: that a change holds when its call returns, and
// that to go stale no time has to pass.
type link struct {
	issuer *Issuer
	keys   *verifierlink.TokenKeys
	proof  atomic.Pointer[follower.Freshness]
	proofs atomic.Uint64
}

func newLink(i *Issuer, public ed25519.PublicKey) *link {
	return &link{issuer: i, keys: &verifierlink.TokenKeys{
		ByKID: map[string]verifierlink.TokenKey{kid: {Alg: "EdDSA", Key: public}}, Hash: events.KeySetHash([]string{kid}),
	}}
}

func (l *link) prove(since clock.Reading) {
	l.proof.Store(&follower.Freshness{Since: since, Now: since.Micros()})
	l.proofs.Add(1)
}

func (l *link) Fresh() *follower.Freshness                { return l.proof.Load() }
func (l *link) Keys() *verifierlink.TokenKeys             { return l.keys }
func (l *link) RefreshKeys(context.Context, string) error { return nil } // there is never another
func (l *link) SetBounds(_, _ time.Duration)              {}             // no question is asked for
func (l *link) Tell(string, []byte) error                 { return nil } // nobody keeps it
func (l *link) Close() error                              { return nil }

func (l *link) Request(_ context.Context, kind events.Kind, _ string, body []byte) ([]byte, error) {
	return l.issuer.answer(kind, body)
}

func (l *link) Ready(bound time.Duration) error {
	fresh, now := l.Fresh(), l.issuer.clock.Now()
	if fresh.Within(now, bound) {
		return nil
	}
	return fmt.Errorf("the last proof is %v old, more than %v", now.Since(fresh.Since), bound)
}

func (l *link) Stats() verifierlink.Stats {
	i := l.issuer
	i.mu.Lock()
	defer i.mu.Unlock()
	s := verifierlink.Stats{Connected: !i.stale, FeedKeys: 1, TokenKeys: len(l.keys.ByKID)}
	s.Head, s.Applied, s.Proofs = i.seq, i.seq-uint64(len(i.unheard)), l.proofs.Load()
	s.Events = s.Applied
	return s
}

// errAway is the silence of an authsvc that isn't there.
var errAway = errors.New("authsvc was stopped by the test")
