package speed

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

// issuer stands in authsvc's place for the many tokens: it signs them here, and proves to a verifier on a real bus that nothing
// was revoked.
type issuer struct {
	name        string
	feed        ed25519.PrivateKey
	token       ed25519.PrivateKey
	signer      *events.Signer
	epoch       string
	url, pinned string
}

// crowd are many tokens of an issuer.
type crowd struct {
	*issuer
	tokens []string
}

func newIssuer(t *testing.T, name string) *issuer {
	t.Helper()
	_, feed, _ := ed25519.GenerateKey(rand.Reader)
	_, token, _ := ed25519.GenerateKey(rand.Reader)
	bus := natstest.Start(t)
	i := &issuer{name: name, feed: feed, token: token, signer: events.NewSigner(name, feed), epoch: events.ID{5: 1, 6: 0x70, 8: 0x80}.String(),
		url: bus.URL(), pinned: filepath.Join(t.TempDir(), "feed.json")}
	if err := os.WriteFile(i.pinned, keySet(feed), 0o600); err != nil {
		t.Fatal(err)
	}
	i.answer(t, bus.Connect(t, "issuer"))
	return i
}

// answer makes the stream, which stays empty, and answers a verifier's questions.
func (i *issuer) answer(t *testing.T, nc *nats.Conn) {
	t.Helper()
	for subject, answer := range map[string]func([]byte) *nats.Msg{events.ProofSubject("*"): i.proof, events.KeysSubject("*"): i.keys} {
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) { m.RespondMsg(answer(m.Data)) }); err != nil {
			t.Fatal(err)
		}
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), readyTimeout)
	defer cancel()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: events.StreamName, Subjects: []string{events.StreamSubjects},
		AllowDirect: true, MaxAge: 48 * time.Hour, DenyDelete: true, DenyPurge: true}); err != nil {
		t.Fatal(err)
	}
}

func (i *issuer) proof(question []byte) *nats.Msg {
	r, err := events.DecodeProofRequest(question)
	if err != nil {
		return &nats.Msg{}
	}
	return i.signed(events.KindProof, events.ProofAnswer{Nonce: r.Nonce, Request: events.HashOf(question), Epoch: i.epoch, Term: 1, Floor: 1,
		Chain: events.ChainStart(i.name, i.epoch), Keys: events.KeySetHash([]string{kid(i.token)}), Now: time.Now().UnixMicro()})
}

func (i *issuer) keys(question []byte) *nats.Msg {
	r, err := events.DecodeKeysRequest(question)
	if err != nil {
		return &nats.Msg{}
	}
	return i.signed(events.KindKeys, events.KeysAnswer{Nonce: r.Nonce, Request: events.HashOf(question), JWKS: keySet(i.token), Now: time.Now().UnixMicro()})
}

func (i *issuer) signed(kind events.Kind, answer any) *nats.Msg {
	body := encoded(answer)
	return &nats.Msg{Data: body, Header: nats.Header{events.HeaderKey: {i.signer.KeyID()}, events.HeaderSignature: {i.signer.Sign(kind, body)}}}
}

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

func kid(key ed25519.PrivateKey) string { return events.Thumbprint(public(key)) }

func keySet(key ed25519.PrivateKey) []byte {
	return encoded(map[string]any{"keys": []any{map[string]string{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
		"kid": kid(key), "x": base64.RawURLEncoding.EncodeToString(public(key))}}})
}

// sign makes n tokens like one of authsvc's, which differ in their ids.
func (i *issuer) sign(t *testing.T, like string, n int) crowd {
	t.Helper()
	c, payload := crowd{issuer: i}, payloadOf(like)
	first := encoded(map[string]string{"alg": "EdDSA", "kid": kid(i.token), "typ": "at+jwt"})
	id := idOf(like)
	for at := range n {
		own := events.ID{1, 2, 3, 4, 5, 6, 0x70, 8, 0x80, 13: byte(at >> 16), 14: byte(at >> 8), 15: byte(at)}.String()
		text := base64.RawURLEncoding.EncodeToString(first) + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(payload, id, own, 1)))
		signature, err := jwt.SigningMethodEdDSA.Sign(text, i.token)
		if err != nil {
			t.Fatal(err)
		}
		c.tokens = append(c.tokens, text+"."+base64.RawURLEncoding.EncodeToString(signature))
	}
	return c
}

// verifier starts one that believes this issuer.
func (i *issuer) verifier(t *testing.T, opts ...verifier.Option) *verifier.Verifier {
	t.Helper()
	return startVerifier(t, verifier.Config{Issuer: i.name, Audience: "tocsin", Service: "resourcesvc", NATSURL: i.url},
		append(opts, verifier.WithFeedKeysFile(i.pinned))...)
}
