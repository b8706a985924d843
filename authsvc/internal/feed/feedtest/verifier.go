package feedtest

import (
	"encoding/json"
	"fmt"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Verifier is the other end as simple as can be: it applies what it hears, keeps the contiguous end, and tells whether an
// answer proves it complete.
type Verifier struct {
	Service, Instance string
	Keys              events.KeySet

	epoch   string
	applied uint64
	chains  map[uint64]events.Hash
	ahead   map[uint64]events.Event
	startID string
}

// NewVerifier returns a verifier that has heard nothing.
func NewVerifier(service, instance string, keys events.KeySet) *Verifier {
	return &Verifier{Service: service, Instance: instance, Keys: keys, startID: events.NewNonce()}
}

// Applied returns the contiguous end.
func (v *Verifier) Applied() (epoch string, seq uint64) { return v.epoch, v.applied }

// Hear applies a feed message.
func (v *Verifier) Hear(m feed.Message) error {
	if err := v.Keys.Verify(events.KindFeed, m.Key, m.Signature, m.Body); err != nil {
		return err
	}
	b, err := events.DecodeBatch(m.Body)
	if err != nil {
		return err
	}
	if b.Epoch < v.epoch {
		return nil
	}
	v.enter(b.Epoch)
	for _, e := range b.Events {
		v.ahead[e.Seq] = e
	}
	for e, ok := v.ahead[v.applied+1]; ok; e, ok = v.ahead[v.applied+1] {
		v.chains[e.Seq] = v.chains[v.applied].Next(e.Raw)
		v.applied = e.Seq
		delete(v.ahead, e.Seq-1)
	}
	return nil
}

func (v *Verifier) enter(epoch string) {
	if epoch > v.epoch {
		v.epoch, v.applied = epoch, 0
		v.chains = map[uint64]events.Hash{0: events.ChainStart(v.Keys.Issuer, epoch)}
		v.ahead = map[uint64]events.Event{}
	}
}

// Ask makes a proof request with a bound.
func (v *Verifier) Ask(clock *Clock, boundMicros int64) feed.Request {
	p := events.ProofRequest{Instance: v.Instance, StartNonce: v.startID, Nonce: events.NewNonce(), Epoch: v.epoch,
		Applied: v.applied, State: events.StateFresh, Bound: boundMicros}
	body, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return feed.Request{Service: v.Service, Body: body, Proof: p, Arrived: clock.Now()}
}

// Check verifies an answer to a request. proven says whether the verifier holds everything up to its head.
func (v *Verifier) Check(r feed.Request, m feed.Message) (a events.ProofAnswer, proven bool, err error) {
	if err = v.Keys.Verify(events.KindProof, m.Key, m.Signature, m.Body); err != nil {
		return a, false, err
	}
	if a, err = events.DecodeProofAnswer(m.Body); err != nil {
		return a, false, err
	}
	if a.Nonce != r.Proof.Nonce || a.Request != events.HashOf(r.Body) {
		return a, false, fmt.Errorf("answer to another request")
	}
	v.enter(a.Epoch)
	return a, a.Epoch == v.epoch && v.applied >= a.Head && v.chains[a.Head] == a.Chain, nil
}
