package events

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Limits of one batch. MaxBatchBytes counts the events' bytes.
const (
	MaxBatchEvents = 500
	MaxBatchBytes  = 256 << 10
)

// maxBatchMessage bounds what DecodeBatch looks at: the events, their commas and the envelope.
const maxBatchMessage = MaxBatchBytes + MaxBatchEvents + 1024

// Batch is the body of a feed message: neighbouring events of one epoch. Live, stream and snapshot messages share it.
type Batch struct {
	Epoch string
	// Prev is the chain before the first event; Chain is the chain after the last.
	Prev, Chain Hash
	// Floor is the lowest seq that was still needed when the batch was made.
	Floor uint64
	// Ack asks verifiers to prove at once, because somebody waits for the fleet.
	Ack    bool
	Events []Event
	// Links are the chains after each event, as the decoder has computed them.
	Links []Hash
	// Compact says that it came as a compact page; its events have no Raw.
	Compact bool
}

// FirstSeq returns the seq of the first event.
func (b Batch) FirstSeq() uint64 { return b.Events[0].Seq }

// LastSeq returns the seq of the last event.
func (b Batch) LastSeq() uint64 { return b.Events[len(b.Events)-1].Seq }

// EncodeBatch makes a message of events' final bytes. The chain after the last is computed from prev.
func EncodeBatch(epoch string, firstSeq uint64, prev Hash, floor uint64, ack bool, raws [][]byte) ([]byte, error) {
	if len(raws) == 0 || len(raws) > MaxBatchEvents {
		return nil, fmt.Errorf("%w: batch of %d events", ErrInvalid, len(raws))
	}
	chain, size := prev, 0
	for _, raw := range raws {
		chain = chain.Next(raw)
		size += len(raw)
	}
	if size > MaxBatchBytes {
		return nil, fmt.Errorf("%w: batch of %d bytes", ErrInvalid, size)
	}
	b := make([]byte, 0, size+len(raws)+400)
	b = append(b, `{"epoch":`...)
	b = strconv.AppendQuote(b, epoch)
	b = append(b, `,"first_seq":`...)
	b = strconv.AppendUint(b, firstSeq, 10)
	b = append(b, `,"prev":"`...)
	b = append(b, prev.String()...)
	b = append(b, `","chain":"`...)
	b = append(b, chain.String()...)
	b = append(b, `","floor":`...)
	b = strconv.AppendUint(b, floor, 10)
	if ack {
		b = append(b, `,"ack":true`...)
	}
	b = append(b, `,"events":[`...)
	for i, raw := range raws {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, raw...)
	}
	return append(b, ']', '}'), nil
}

// DecodeBatch reads a batch and checks that its seqs are dense and its chain is that of its events.
// It does not verify the signature: that comes first.
func DecodeBatch(body []byte) (Batch, error) {
	if len(body) > maxBatchMessage {
		return Batch{}, fmt.Errorf("%w: batch of %d bytes", ErrInvalid, len(body))
	}
	if b, ok := scanBatch(body); ok {
		return b, nil
	}
	return decodeBatch(body)
}

// decodeBatch reads any form of a batch.
func decodeBatch(body []byte) (Batch, error) {
	var m struct {
		Epoch    string            `json:"epoch"`
		FirstSeq uint64            `json:"first_seq"`
		Prev     Hash              `json:"prev"`
		Chain    Hash              `json:"chain"`
		Floor    uint64            `json:"floor"`
		Ack      bool              `json:"ack"`
		Events   []json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return Batch{}, fmt.Errorf("%w: batch: %w", ErrInvalid, err)
	}
	if _, err := ParseID(m.Epoch); err != nil {
		return Batch{}, fmt.Errorf("epoch: %w", err)
	}
	if len(m.Events) == 0 || len(m.Events) > MaxBatchEvents {
		return Batch{}, fmt.Errorf("%w: batch of %d events", ErrInvalid, len(m.Events))
	}
	b := Batch{Epoch: m.Epoch, Prev: m.Prev, Chain: m.Chain, Floor: m.Floor, Ack: m.Ack}
	b.Events, b.Links = make([]Event, 0, len(m.Events)), make([]Hash, 0, len(m.Events))
	links := linker{chain: m.Prev}
	for i, raw := range m.Events {
		e, err := DecodeEvent(raw)
		if err != nil {
			return Batch{}, err
		}
		if e.Seq != m.FirstSeq+uint64(i) {
			return Batch{}, fmt.Errorf("%w: seq %d at place %d of a batch from %d", ErrInvalid, e.Seq, i, m.FirstSeq)
		}
		b.Events, b.Links = append(b.Events, e), append(b.Links, links.next(e.Raw))
	}
	if links.chain != m.Chain {
		return Batch{}, fmt.Errorf("%w: chain doesn't match the events", ErrInvalid)
	}
	return b, nil
}
