package linktest

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

const (
	issuer  = "https://auth.example.com"
	service = "cars"
)

// authority is the part of authsvc that verifiers see on the bus, over a log in memory.
type authority struct {
	t       testing.TB
	signer  *events.Signer
	publish *nats.Conn
	epoch   string
	// newer makes everything that is signed have fields that this version doesn't know, and the key set a key.
	newer bool

	mu     sync.Mutex
	raws   [][]byte
	chains []events.Hash // chains[n] is chain(n)
	asked  map[string]int
}

func key(seed string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(seed, ed25519.SeedSize)))
}

func jwks(seed string) []byte {
	public := key(seed).Public().(ed25519.PublicKey)
	return encode(map[string]any{"keys": []any{map[string]string{
		"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
		"kid": events.Thumbprint(public), "x": base64.RawURLEncoding.EncodeToString(public),
	}}})
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// feedKeysFile pins the authority's feed key.
func feedKeysFile(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "feed.json")
	if err := os.WriteFile(path, jwks("f"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newAuthority makes the stream and answers questions.
func newAuthority(t testing.TB, publish, reply *nats.Conn, replicas int) *authority {
	t.Helper()
	a := &authority{t: t, signer: events.NewSigner(issuer, key("f")), publish: publish, asked: make(map[string]int)}
	a.epoch = events.ID{5: 1, 6: 0x70, 8: 0x80}.String()
	a.chains = []events.Hash{events.ChainStart(issuer, a.epoch)}
	for subject, answer := range map[string]func([]byte) *nats.Msg{
		events.ProofSubject("*"): a.proof, events.KeysSubject("*"): a.keys, events.SnapshotSubject("*"): a.snapshot,
	} {
		queue := events.QueueGroup
		if subject == events.ProofSubject("*") {
			queue = "" // every replica hears every question
		}
		handle := func(m *nats.Msg) {
			a.mu.Lock()
			a.asked[subject]++
			reply := answer(m.Data)
			a.mu.Unlock()
			_ = m.RespondMsg(reply)
		}
		if _, err := reply.QueueSubscribe(subject, queue, handle); err != nil {
			t.Fatal(err)
		}
	}
	if err := reply.Flush(); err != nil {
		t.Fatal(err)
	}
	a.createStream(replicas)
	return a
}

func (a *authority) createStream(replicas int) {
	a.t.Helper()
	js, err := jetstream.New(a.publish)
	if err != nil {
		a.t.Fatal(err)
	}
	natstest.Insist(a.t, "create the stream", func(ctx context.Context) error {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name: events.StreamName, Subjects: []string{events.StreamSubjects}, AllowDirect: true,
			MaxAge: 48 * time.Hour, Replicas: replicas, DenyDelete: true, DenyPurge: true,
		})
		return err
	})
}

// revoke commits and numbers n revocations of tokens and returns the range of their seqs.
func (a *authority) revoke(n int) (first, last uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	first = uint64(len(a.raws)) + 1
	for range n {
		seq, now := uint64(len(a.raws))+1, time.Now().UnixMicro()
		payload, err := events.EncodePayload(events.TokenRevoked{JTI: jti(seq)})
		if err != nil {
			a.t.Fatal(err)
		}
		raw, err := events.EncodeEvent(seq, events.TypeTokenRevoked, now, now+time.Hour.Microseconds(), payload)
		if err != nil {
			a.t.Fatal(err)
		}
		a.raws = append(a.raws, raw)
		a.chains = append(a.chains, a.chains[seq-1].Next(raw))
	}
	return first, uint64(len(a.raws))
}

// store publishes a range to the stream, so many events to a message, and waits until it is stored.
func (a *authority) store(first, last uint64, size int) {
	a.t.Helper()
	js, err := jetstream.New(a.publish)
	if err != nil {
		a.t.Fatal(err)
	}
	for ; first <= last; first += uint64(size) {
		m := a.batch(first, min(last, first+uint64(size)-1))
		m.Subject = events.FeedSubject(events.TypeTokenRevoked)
		if _, err := js.PublishMsgAsync(m); err != nil {
			a.t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(machine.Patience):
		a.t.Fatal("the stream doesn't take the feed")
	}
}

// tell publishes a range to the live feed.
func (a *authority) tell(first, last uint64) {
	a.t.Helper()
	m := a.batch(first, last)
	m.Subject = events.LiveSubject(events.TypeTokenRevoked)
	if err := a.publish.PublishMsg(m); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) batch(first, last uint64) *nats.Msg {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.page(first, last)
}

func (a *authority) page(first, last uint64) *nats.Msg {
	body, err := events.EncodeBatch(a.epoch, first, a.chains[first-1], 1, false, a.raws[first-1:last])
	if err != nil {
		a.t.Error(err)
	}
	return a.signed(events.KindFeed, body)
}

func (a *authority) signed(kind events.Kind, body []byte) *nats.Msg {
	if a.newer {
		body = append([]byte(`{"of_the_future":{"a":[1,null]},`), body[1:]...)
	}
	return &nats.Msg{Data: body, Header: nats.Header{
		events.HeaderKey: {a.signer.KeyID()}, events.HeaderSignature: {a.signer.Sign(kind, body)},
	}}
}

func (a *authority) proof(body []byte) *nats.Msg {
	r, err := events.DecodeProofRequest(body)
	if err != nil {
		a.t.Error(err)
	}
	head := uint64(len(a.raws))
	return a.signed(events.KindProof, encode(events.ProofAnswer{
		Nonce: r.Nonce, Request: events.HashOf(body), Epoch: a.epoch, Term: 1, Floor: 1, Head: head, Chain: a.chains[head],
		Keys: events.KeySetHash(a.kids()), Now: time.Now().UnixMicro(),
	}))
}

func (a *authority) keys(body []byte) *nats.Msg {
	r, err := events.DecodeKeysRequest(body)
	if err != nil {
		a.t.Error(err)
	}
	return a.signed(events.KindKeys, encode(events.KeysAnswer{
		Nonce: r.Nonce, Request: events.HashOf(body), JWKS: a.tokenKeys(), Now: time.Now().UnixMicro(),
	}))
}

func (a *authority) snapshot(body []byte) *nats.Msg {
	r, err := events.DecodeSnapshotRequest(body)
	if err != nil || r.Epoch != a.epoch || r.From > uint64(len(a.raws)) {
		return &nats.Msg{Header: nats.Header{events.HeaderError: {events.ErrorGone}}}
	}
	first := (r.From-1)/events.MaxBatchEvents*events.MaxBatchEvents + 1
	return a.page(first, min(first+events.MaxBatchEvents-1, uint64(len(a.raws))))
}

// jti is the id of the token that the event with a seq revokes.
func jti(seq uint64) string {
	return events.ID{6: 0x70, 8: 0x80, 12: byte(seq >> 24), 13: byte(seq >> 16), 14: byte(seq >> 8), 15: byte(seq)}.String()
}

// futureKid is of a kind of key that this version doesn't know.
const futureKid = "a-key-of-the-future"

func (a *authority) kids() []string {
	kids := []string{events.Thumbprint(key("t").Public().(ed25519.PublicKey))}
	if a.newer {
		kids = append(kids, futureKid)
	}
	return kids
}

func (a *authority) tokenKeys() []byte {
	if !a.newer {
		return jwks("t")
	}
	future := `{"keys":[{"kty":"AKP","alg":"ML-DSA-65","use":"sig","kid":"` + futureKid + `","pub":"AAAA"},`
	return append([]byte(future), strings.TrimPrefix(string(jwks("t")), `{"keys":[`)...)
}

// timesAll is how many questions were answered.
func (a *authority) timesAll() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, asked := range a.asked {
		n += asked
	}
	return n
}

func (a *authority) times(subject string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[subject]
}
