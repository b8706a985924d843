package events

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	testIssuer = "https://auth.example.com"
	testEpoch  = "019a5f00-0000-7000-8000-0000000000e0"
	idA        = "019a5f00-0000-7000-8000-00000000000a"
	idB        = "019a5f00-0000-7000-8000-00000000000b"
	idC        = "019a5f00-0000-7000-8000-00000000000c"
	at         = int64(1_760_000_000_000_000)
	until      = at + 1_860_000_000
)

// testSigner signs with a fixed key; Ed25519 signatures are deterministic.
func testSigner() (*Signer, KeySet) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	s := NewSigner(testIssuer, key)
	return s, KeySet{Issuer: testIssuer, Keys: map[string]ed25519.PublicKey{s.KeyID(): key.Public().(ed25519.PublicKey)}}
}

func ptr[T any](v T) *T { return &v }

var payloads = []struct {
	name string
	p    Payload
}{
	{"token_revoked_jti", TokenRevoked{JTI: idA}},
	{"token_revoked_session", TokenRevoked{SessionID: idA}},
	{"token_revoked_user", TokenRevoked{UserID: idA, TV: at}},
	{"token_revoked_user_keys", TokenRevoked{UserID: idA, TV: at, Keys: true}},
	{"token_revoked_users", TokenRevoked{UserIDs: []string{idA, idB}, TV: at, Keys: true}},
	{"token_revoked_before", TokenRevoked{Before: at / 1000}},
	{"token_revoked_before_keys", TokenRevoked{Before: at / 1000, Keys: true}},
	{"role_changed", RoleChanged{UserID: idA, RV: at, Roles: []string{"admin", "user"}, Plan: "free"}},
	{"role_changed_disabled", RoleChanged{UserID: idA, RV: at, Roles: []string{}, Plan: "free", Disabled: true}},
	{"apikey_rotated", APIKeyRotated{KeyID: idA, Successor: idB, NotAfter: ptr(at + 1)}},
	{"apikey_deleted", APIKeyRotated{KeyID: idA, NotAfter: ptr(at)}},
	{"apikey_suspended", APIKeyRotated{KeyID: idA, Suspended: ptr(true), KV: at}},
	{"apikey_resumed", APIKeyRotated{KeyID: idA, Suspended: ptr(false), KV: at + 1}},
	{"keys_changed", KeysChanged{Hash: KeySetHash([]string{"kid-b", "kid-a"})}},
}

func encodeTestEvent(t testing.TB, seq uint64, p Payload) []byte {
	t.Helper()
	body, err := EncodePayload(p)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := EncodeEvent(seq, p.Type(), at, until, body)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func testBatch(t testing.TB, ack bool) []byte {
	t.Helper()
	var raws [][]byte
	for i, c := range payloads {
		raws = append(raws, encodeTestEvent(t, uint64(i+1), c.p))
	}
	body, err := EncodeBatch(testEpoch, 1, ChainStart(testIssuer, testEpoch), 1, ack, raws)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden is one message as it travels: its headers when it is signed, an empty line, its body.
func golden(t *testing.T, name string, kind Kind, body []byte) {
	t.Helper()
	var want bytes.Buffer
	if kind != "" {
		s, set := testSigner()
		sig := s.Sign(kind, body)
		if err := set.Verify(kind, s.KeyID(), sig, body); err != nil {
			t.Fatal(err)
		}
		want.WriteString(HeaderKey + ": " + s.KeyID() + "\n" + HeaderSignature + ": " + sig + "\n\n")
	}
	want.Write(body)
	want.WriteByte('\n')
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s: the wire changed\n got %s\nwant %s", name, want.Bytes(), got)
	}
}

func TestEveryMessageKeepsItsBytes(t *testing.T) {
	for i, c := range payloads {
		golden(t, "event_"+c.name, "", encodeTestEvent(t, uint64(i+1), c.p))
	}
	golden(t, "batch", KindFeed, testBatch(t, false))
	golden(t, "batch_ack", KindFeed, testBatch(t, true))

	nonce := "000102030405060708090a0b0c0d0e0f"
	chain := ChainStart(testIssuer, testEpoch)
	proof := mustJSON(t, ProofRequest{Instance: "host-1-ab", StartNonce: nonce, Nonce: nonce, Epoch: testEpoch,
		Applied: 14, Chain: chain, State: StateFresh, Bound: 30_000_000})
	golden(t, "proof_request", "", proof)
	golden(t, "proof_answer", KindProof, mustJSON(t, ProofAnswer{Nonce: nonce, Request: HashOf(proof), Epoch: testEpoch,
		Term: 3, Floor: 1, Head: 14, Chain: chain, Keys: KeySetHash([]string{"kid-a"}), Now: at}))

	check := mustJSON(t, CheckRequest{Nonce: nonce, Kid: "kid-a", JTI: idA, SessionID: idB, Subject: idC, TV: at, Mode: ModeLive,
		Parents: []Parent{{JTI: idB, SessionID: idB, Subject: idC, TV: at, KeyID: idA}}})
	user := &UserInfo{ID: idC, Roles: []string{"user"}, Plan: "free", RV: at}
	key := &KeyInfo{ID: idA, Mode: ModeLive, Scopes: []string{"user"}, TV: at, KV: at, NotAfter: ptr(until)}
	golden(t, "check_request", "", check)
	golden(t, "check_request_key", "", mustJSON(t, CheckRequest{Nonce: nonce, KeyHash: ptr(HashOf([]byte("key")))}))
	golden(t, "check_answer", KindCheck, mustJSON(t, CheckAnswer{Nonce: nonce, Request: HashOf(check), Active: true, User: user, Now: at}))
	golden(t, "check_answer_not_after", KindCheck, mustJSON(t, CheckAnswer{Nonce: nonce, Request: HashOf(check), Active: true, User: user, Key: key, Now: at, NotAfter: ptr(until)}))
	golden(t, "check_answer_refused", KindCheck, mustJSON(t, CheckAnswer{Nonce: nonce, Request: HashOf(check), Reason: ReasonRevoked, Now: at}))

	resolve := mustJSON(t, ResolveRequest{Nonce: nonce, KeyHash: HashOf([]byte("key"))})
	golden(t, "resolve_request", "", resolve)
	golden(t, "resolve_answer", KindResolve, mustJSON(t, ResolveAnswer{Nonce: nonce, Request: HashOf(resolve), Found: true, User: user, Key: key, Now: at}))
	golden(t, "resolve_answer_unknown", KindResolve, mustJSON(t, ResolveAnswer{Nonce: nonce, Request: HashOf(resolve), Now: at}))

	keys := mustJSON(t, KeysRequest{Nonce: nonce})
	golden(t, "keys_request", "", keys)
	golden(t, "keys_answer", KindKeys, mustJSON(t, KeysAnswer{Nonce: nonce, Request: HashOf(keys), JWKS: json.RawMessage(`{"keys":[]}`), Now: at}))
	golden(t, "snapshot_request", "", mustJSON(t, SnapshotRequest{Epoch: testEpoch, From: 1}))
}
