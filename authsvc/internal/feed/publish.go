package feed

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// errCorrupt means that stored events don't have the chain that is stored with them.
var errCorrupt = errors.New("stored events don't match their chain")

// batch is a signed message and the events that it carries.
type batch struct {
	typ         events.Type
	first, last uint64
	message     Message
}

// cut makes messages of neighbouring events: each of one type and within the limits of a batch.
func (d *Dispatcher) cut(prev events.Hash, rows []store.FeedRow, ack bool) ([]batch, error) {
	signer := d.cfg.Signer()
	var all []batch
	for len(rows) > 0 {
		n := neighbours(rows, func(r store.FeedRow) bool { return r.Type == rows[0].Type })
		body, err := encode(d.term.at.Epoch, prev, rows[:n], d.term.floor, ack)
		if err != nil {
			return nil, err
		}
		last := rows[n-1]
		all = append(all, batch{typ: last.Type, first: rows[0].Seq, last: last.Seq, message: sign(signer, events.KindFeed, body)})
		prev, rows = last.Chain, rows[n:]
	}
	return all, nil
}

// neighbours returns how many of the first rows fit into one message, as far as they belong together.
func neighbours(rows []store.FeedRow, together func(store.FeedRow) bool) int {
	size := 0
	for i, r := range rows {
		size += len(r.Body)
		if i == events.MaxBatchEvents || size > events.MaxBatchBytes || !together(r) {
			return i
		}
	}
	return len(rows)
}

// encode makes the body of a feed message. It checks the chain, so that a damaged database is noticed here and not by
// every verifier.
func encode(epoch string, prev events.Hash, rows []store.FeedRow, floor uint64, ack bool) ([]byte, error) {
	chain, raws := prev, make([][]byte, len(rows))
	for i, r := range rows {
		chain, raws[i] = chain.Next(r.Body), r.Body
	}
	if chain != rows[len(rows)-1].Chain {
		return nil, fmt.Errorf("%w: epoch %s, seq %d to %d", errCorrupt, epoch, rows[0].Seq, rows[len(rows)-1].Seq)
	}
	return events.EncodeBatch(epoch, rows[0].Seq, prev, floor, ack, raws)
}

func sign(signer *events.Signer, kind events.Kind, body []byte) Message {
	return Message{Body: body, Key: signer.KeyID(), Signature: signer.Sign(kind, body)}
}

// answer tells each request how far the feed is, by a numbering transaction that began after they had all arrived and
// whose events are all out on core.
func (d *Dispatcher) answer(n store.Numbered, requests []Request) {
	now := d.cfg.Clock.Now()
	timely := slices.DeleteFunc(slices.Clone(requests), func(r Request) bool { return now.Sub(r.Arrived) > requestLife })
	d.stats.late(len(requests) - len(timely))
	answers := d.signAnswers(n, timely)
	for i, r := range timely {
		d.stats.answered(d.cfg.Bus.Answer(r, answers[i]))
	}
}

// signAnswers uses several CPUs, as the signatures are most of what it costs to answer a large fleet; none of its goroutines
// outlives it.
func (d *Dispatcher) signAnswers(n store.Numbered, requests []Request) []Message {
	signer, term, answers := d.cfg.Signer(), d.term.number, make([]Message, len(requests))
	share := max(minShare, (len(requests)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	var running sync.WaitGroup
	for from := 0; from < len(requests); from += share {
		running.Go(func() {
			for i := from; i < min(from+share, len(requests)); i++ {
				answers[i] = answerTo(requests[i], n, term, signer)
			}
		})
	}
	running.Wait()
	return answers
}

// minShare is how many answers are worth a goroutine.
const minShare = 8

func answerTo(r Request, n store.Numbered, term int64, signer *events.Signer) Message {
	body, err := json.Marshal(events.ProofAnswer{
		Nonce: r.Proof.Nonce, Request: events.HashOf(r.Body), Epoch: n.Epoch, Term: term,
		Floor: n.Floor, Head: n.Head, Chain: n.Chain, Keys: n.Keys, Now: n.Now,
	})
	if err != nil {
		panic(err) // it has nothing that has no JSON
	}
	return sign(signer, events.KindProof, body)
}
