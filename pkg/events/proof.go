package events

import (
	"encoding/json"
	"fmt"
	"time"
)

// State is a verifier's own view of itself, for people; it changes nothing.
type State string

// The states of a verifier.
const (
	StateStarting State = "starting"
	StateFresh    State = "fresh"
	StateStale    State = "stale"
)

// Limits of the staleness bound B.
const (
	MinBound = time.Second
	MaxBound = 5 * time.Minute
)

// KeyRetention is a constant of the release: events live at least that long, and a cached API-key resolution lives at
// most half as long, so that no resolution can outlive an event that concerns it.
const KeyRetention = 30 * time.Minute

// MaxRequest bounds a question in bytes: what decoders of requests look at.
const MaxRequest = 16 << 10

// ProofRequest asks "how far is the feed?". Everything but Nonce is information for operators and receipts.
type ProofRequest struct {
	Instance string `json:"instance"`
	// StartNonce is drawn once a start of the process, so that a restarted instance is another one.
	StartNonce string `json:"start_nonce"`
	// Nonce is 128 random bits in 32 hexadecimal digits, new for every send.
	Nonce   string `json:"nonce"`
	Epoch   string `json:"epoch,omitempty"`
	Applied uint64 `json:"applied"`
	Chain   Hash   `json:"chain"`
	State   State  `json:"state"`
	// Bound is the largest staleness bound of the verifier's routes, in microseconds.
	Bound int64 `json:"b"`
}

// ProofAnswer is the signed answer: all events that were committed before the question was sent have seq ≤ Head.
type ProofAnswer struct {
	Nonce   string `json:"nonce"`
	Request Hash   `json:"request"` // of the request's bytes
	Epoch   string `json:"epoch"`
	Term    int64  `json:"term"`
	Floor   uint64 `json:"floor"`
	Head    uint64 `json:"head"`
	Chain   Hash   `json:"chain"` // chain(Head)
	Keys    Hash   `json:"keys"`  // KeySetHash of the token keys
	Now     int64  `json:"now"`
}

// DecodeProofRequest reads a question; unlike an answer it is not signed, so every field is checked here.
func DecodeProofRequest(body []byte) (ProofRequest, error) {
	var r ProofRequest
	if err := decodeRequest(body, &r); err != nil {
		return r, err
	}
	if r.Epoch != "" {
		if _, err := ParseID(r.Epoch); err != nil {
			return r, fmt.Errorf("epoch: %w", err)
		}
	}
	switch {
	case !ValidNonce(r.Nonce):
		return r, fmt.Errorf("%w: nonce", ErrInvalid)
	case !ValidNonce(r.StartNonce):
		return r, fmt.Errorf("%w: start_nonce", ErrInvalid)
	case !ValidText(r.Instance):
		return r, fmt.Errorf("%w: instance", ErrInvalid)
	case r.State != StateStarting && r.State != StateFresh && r.State != StateStale:
		return r, fmt.Errorf("%w: state", ErrInvalid)
	case r.Bound < MinBound.Microseconds() || r.Bound > MaxBound.Microseconds():
		return r, fmt.Errorf("%w: b", ErrInvalid)
	}
	return r, nil
}

// DecodeProofAnswer reads an answer whose signature was verified.
func DecodeProofAnswer(body []byte) (ProofAnswer, error) {
	var a ProofAnswer
	if err := decodeRequest(body, &a); err != nil {
		return a, err
	}
	if _, err := ParseID(a.Epoch); err != nil {
		return a, fmt.Errorf("epoch: %w", err)
	}
	if a.Floor == 0 || a.Floor > a.Head+1 || a.Now <= 0 {
		return a, fmt.Errorf("%w: floor, head or now", ErrInvalid)
	}
	return a, nil
}

func decodeRequest(body []byte, into any) error {
	if len(body) > MaxRequest {
		return fmt.Errorf("%w: %d bytes", ErrInvalid, len(body))
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
