package faults

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

// forge answers proof requests as authsvc's own connection may, but without its feed key: whoever asks is up to date.
func (s *scene) forge() (end func()) {
	s.t.Helper()
	seed, err := nats.NkeyOptionFromSeed(filepath.Join(s.Auth[0].DataDir, "nats", "authsvc.reply.nk"))
	if err != nil {
		s.t.Fatal(err)
	}
	conn := natstest.Dial(s.t, s.Auth[0].NATSURL, seed)
	keys := s.keySet()
	if _, err = conn.Subscribe(events.ProofSubject("*"), func(m *nats.Msg) { answerFalsely(m, keys) }); err == nil {
		err = conn.Flush()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return conn.Close
}

func answerFalsely(m *nats.Msg, keys events.Hash) {
	q, err := events.DecodeProofRequest(m.Data)
	if err != nil {
		return
	}
	body, err := json.Marshal(events.ProofAnswer{Nonce: q.Nonce, Request: events.HashOf(m.Data), Epoch: q.Epoch, Term: 1 << 20, Floor: 1,
		Head: q.Applied, Chain: q.Chain, Keys: keys, Now: time.Now().UnixMicro()})
	if err != nil {
		return
	}
	answer := nats.NewMsg(m.Reply)
	answer.Data = body
	answer.Header.Set(events.HeaderKey, strings.Repeat("A", 43))
	answer.Header.Set(events.HeaderSignature, strings.Repeat("A", 86))
	m.RespondMsg(answer)
}

// keySet is the hash of the token keys, which everybody may know.
func (s *scene) keySet() events.Hash {
	var set struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal(s.Auth[0].Do(s.t, "GET", "/.well-known/jwks.json", "", nil).Body, &set); err != nil {
		s.t.Fatal(err)
	}
	var kids []string
	for _, k := range set.Keys {
		kids = append(kids, k.Kid)
	}
	return events.KeySetHash(kids)
}
