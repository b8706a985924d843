package events

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEventsComeBackAsTheyWent(t *testing.T) {
	for i, c := range payloads {
		t.Run(c.name, func(t *testing.T) {
			raw := encodeTestEvent(t, uint64(i+1), c.p)
			got, err := DecodeEvent(raw)
			if err != nil {
				t.Fatal(err)
			}
			want := Event{Seq: uint64(i + 1), At: at, Until: until, Payload: c.p, Raw: raw}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDecodeEventRefuses(t *testing.T) {
	head := `{"seq":1,"at":1,"until":2,"type":`
	for name, raw := range map[string]string{
		"no seq":                     `{"at":1,"until":2,"type":"keys.changed"}`,
		"until before at":            `{"seq":1,"at":3,"until":2,"type":"token.revoked","jti":"` + idA + `"}`,
		"two selectors":              head + `"token.revoked","jti":"` + idA + `","session_id":"` + idB + `"}`,
		"user without version":       head + `"token.revoked","user_id":"` + idA + `"}`,
		"version without user":       head + `"token.revoked","jti":"` + idA + `","tv":4}`,
		"keys with a jti":            head + `"token.revoked","jti":"` + idA + `","keys":true}`,
		"id that is no UUID":         head + `"token.revoked","jti":"*"}`,
		"id in upper case":           head + `"token.revoked","jti":"` + strings.ToUpper(idA) + `"}`,
		"role without version":       head + `"role.changed","user_id":"` + idA + `"}`,
		"suspended without version":  head + `"apikey.rotated","key_id":"` + idA + `","suspended":true}`,
		"wrong type of a field":      head + `"token.revoked","jti":7}`,
		"key set without hash":       head + `"keys.changed"}`,
		"bytes after the object":     head + `"token.revoked","jti":"` + idA + `"}{}`,
		"more than an event's limit": head + `"token.revoked","jti":"` + strings.Repeat("a", MaxEventSize) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if e, err := DecodeEvent([]byte(raw)); !errors.Is(err, ErrInvalid) {
				t.Errorf("got %+v, %v", e, err)
			}
		})
	}
}

func TestNewerTypesAndSelectorsAreUnknownNotErrors(t *testing.T) {
	head := `{"seq":1,"at":1,"until":2,"type":`
	for raw, want := range map[string]Unknown{
		head + `"device.lost","device":"x"}`:                             {Name: "device.lost"},
		head + `"device.lost","device":"x","ignorable":true}`:            {Name: "device.lost", Ignorable: true},
		head + `"token.revoked","tenant_id":"x"}`:                        {Name: TypeTokenRevoked},
		head + `"apikey.rotated","key_id":"` + idA + `","moved_to":"x"}`: {Name: TypeAPIKeyRotated},
	} {
		e, err := DecodeEvent([]byte(raw))
		if err != nil || e.Payload != Payload(want) {
			t.Errorf("%s: got %+v, %v", raw, e.Payload, err)
		}
	}
	e, err := DecodeEvent([]byte(head + `"token.revoked","jti":"` + idA + `","note":"new field"}`))
	if err != nil || e.Payload.(TokenRevoked).JTI != idA {
		t.Errorf("an added field hid a known selector: %+v, %v", e, err)
	}
}

func TestABatchCarriesTheBytesThatTheChainHashes(t *testing.T) {
	body := testBatch(t, true)
	b, err := DecodeBatch(body)
	if err != nil {
		t.Fatal(err)
	}
	chain := ChainStart(testIssuer, testEpoch)
	for i, e := range b.Events {
		if want := encodeTestEvent(t, uint64(i+1), payloads[i].p); string(want) != string(e.Raw) {
			t.Errorf("event %d: %s, want %s", i, e.Raw, want)
		}
		chain = chain.Next(e.Raw)
	}
	if chain != b.Chain || !b.Ack || b.FirstSeq() != 1 || b.LastSeq() != uint64(len(payloads)) {
		t.Errorf("envelope: %+v", b)
	}
}

func TestDecodeBatchRefusesWhatIsNotDenseOrNotChained(t *testing.T) {
	whole := string(testBatch(t, false))
	for name, body := range map[string]string{
		"a hole":            strings.Replace(whole, `{"seq":3,`, `{"seq":4,`, 1),
		"a changed event":   strings.Replace(whole, `"plan":"free"`, `"plan":"fees"`, 1),
		"a changed prev":    strings.Replace(whole, `"prev":"`, `"prev":"0`, 1),
		"another first seq": strings.Replace(whole, `"first_seq":1`, `"first_seq":2`, 1),
		"no epoch":          strings.Replace(whole, testEpoch, "", 1),
		"no events":         `{"epoch":"` + testEpoch + `","first_seq":1,"prev":"` + Hash{}.String() + `","chain":"` + Hash{}.String() + `","floor":1,"events":[]}`,
	} {
		if _, err := DecodeBatch([]byte(body)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASignatureHoldsForItsKindIssuerKeyAndBytesOnly(t *testing.T) {
	s, set := testSigner()
	body := []byte(`{"a":1}`)
	sig := s.Sign(KindProof, body)
	other := KeySet{Issuer: "https://other.example.com", Keys: set.Keys}
	for name, c := range map[string]struct {
		set  KeySet
		kind Kind
		kid  string
		sig  string
		body string
		want error
	}{
		"as signed":      {set, KindProof, s.KeyID(), sig, string(body), nil},
		"another kind":   {set, KindFeed, s.KeyID(), sig, string(body), ErrSignature},
		"another issuer": {other, KindProof, s.KeyID(), sig, string(body), ErrSignature},
		"other bytes":    {set, KindProof, s.KeyID(), sig, `{"a":2}`, ErrSignature},
		"no signature":   {set, KindProof, s.KeyID(), "", string(body), ErrSignature},
		"cut signature":  {set, KindProof, s.KeyID(), sig[:80], string(body), ErrSignature},
		"unknown kid":    {set, KindProof, "nobody", sig, string(body), ErrUnknownKey},
		"empty set":      {KeySet{}, KindProof, s.KeyID(), sig, string(body), ErrUnknownKey},
	} {
		if err := c.set.Verify(c.kind, c.kid, c.sig, []byte(c.body)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestRequestDecodersNameTheFieldTheyRefuse(t *testing.T) {
	nonce := NewNonce()
	proof := ProofRequest{Instance: "i", StartNonce: nonce, Nonce: nonce, State: StateStarting, Bound: MinBound.Microseconds()}
	for field, change := range map[string]func(*ProofRequest){
		"nonce":       func(r *ProofRequest) { r.Nonce = "x" },
		"start_nonce": func(r *ProofRequest) { r.StartNonce = strings.ToUpper(nonce)[:31] + "g" },
		"instance":    func(r *ProofRequest) { r.Instance = "a\nb" },
		"state":       func(r *ProofRequest) { r.State = "happy" },
		"b":           func(r *ProofRequest) { r.Bound = MaxBound.Microseconds() + 1 },
		"epoch":       func(r *ProofRequest) { r.Epoch = "*" },
	} {
		bad := proof
		change(&bad)
		if _, err := DecodeProofRequest(mustJSON(t, bad)); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if got, err := DecodeProofRequest(mustJSON(t, proof)); err != nil || got != proof {
		t.Errorf("a good request: %+v, %v", got, err)
	}
	for name, body := range map[string]string{
		"check without jti":      `{"nonce":"` + nonce + `","kid":"k","sub":"` + idA + `","mode":"live"}`,
		"check with a bad id":    `{"nonce":"` + nonce + `","kid":"k","jti":"` + idA + `","sub":"x","mode":"live"}`,
		"check with a bad mode":  `{"nonce":"` + nonce + `","kid":"k","jti":"` + idA + `","sub":"` + idA + `","mode":"prod"}`,
		"check with bad parents": `{"nonce":"` + nonce + `","kid":"k","jti":"` + idA + `","sub":"` + idA + `","mode":"live","parents":[{"sub":">"}]}`,
	} {
		if _, err := DecodeCheckRequest([]byte(body)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DecodeSnapshotRequest([]byte(`{"epoch":"` + testEpoch + `","from":0}`)); !errors.Is(err, ErrInvalid) {
		t.Errorf("snapshot from 0: %v", err)
	}
	if _, err := DecodeResolveRequest([]byte(`{"nonce":"` + nonce + `"}`)); !errors.Is(err, ErrInvalid) {
		t.Errorf("resolve without hash: %v", err)
	}
}

func TestOnlyPlainNamesBecomeSubjects(t *testing.T) {
	for name, want := range map[string]bool{
		"cars": true, "cars-2_b": true, "": false, "Cars": false, "a.b": false, "*": false, ">": false, "a b": false,
		"a\r\nb": false, "é": false, strings.Repeat("a", 32): true, strings.Repeat("a", 33): false,
	} {
		if ValidService(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

func TestIDsHaveOneSpellingAndKnowTheirTime(t *testing.T) {
	id, err := ParseID(idA)
	if err != nil || id.String() != idA || !id.IsV7() || id.Millis() != 0x019a5f000000 {
		t.Errorf("%v %v %v %x", id, err, id.IsV7(), id.Millis())
	}
	for _, s := range []string{"", strings.ToUpper(idA), idA[:35], idA + "0", "{" + idA[1:35] + "}", strings.ReplaceAll(idA, "-", "_")} {
		if _, err := ParseID(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestAnswersMustBeWhole(t *testing.T) {
	if _, err := DecodeCheckAnswer([]byte(`{"active":true}`)); !errors.Is(err, ErrInvalid) {
		t.Errorf("active for nobody: %v", err)
	}
	if _, err := DecodeResolveAnswer([]byte(`{"found":true,"user":{"id":"` + idA + `"}}`)); !errors.Is(err, ErrInvalid) {
		t.Errorf("found without key: %v", err)
	}
	a := ProofAnswer{Epoch: testEpoch, Floor: 9, Head: 3, Now: at}
	if _, err := DecodeProofAnswer(mustJSON(t, a)); !errors.Is(err, ErrInvalid) {
		t.Errorf("floor above head: %v", err)
	}
}

func FuzzDecodeEvent(f *testing.F) {
	for i, c := range payloads {
		f.Add(encodeTestEvent(f, uint64(i+1), c.p))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := DecodeEvent(raw)
		if err != nil {
			return
		}
		if _, unknown := e.Payload.(Unknown); unknown {
			return
		}
		// Whatever is accepted can be said again and means the same.
		body, err := EncodePayload(e.Payload)
		if err != nil {
			t.Fatalf("%+v: %v", e.Payload, err)
		}
		again, err := EncodeEvent(e.Seq, e.Payload.Type(), e.At, e.Until, body)
		if err != nil {
			if len(body) > MaxEventSize-128 {
				return
			}
			t.Fatal(err)
		}
		back, err := DecodeEvent(again)
		if err != nil {
			t.Fatal(err)
		}
		if string(mustJSON(t, back.Payload)) != string(mustJSON(t, e.Payload)) {
			t.Errorf("%+v became %+v", e.Payload, back.Payload)
		}
	})
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add(testBatch(f, false))
	f.Add(testBatch(f, true))
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := DecodeBatch(body)
		if err != nil {
			return
		}
		raws := make([][]byte, len(b.Events))
		for i, e := range b.Events {
			raws[i] = e.Raw
		}
		again, err := EncodeBatch(b.Epoch, b.FirstSeq(), b.Prev, b.Floor, b.Ack, raws)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeBatch(again); err != nil || back.Chain != b.Chain {
			t.Errorf("a batch didn't survive: %v", err)
		}
	})
}

func FuzzDecodeRequests(f *testing.F) {
	nonce := "000102030405060708090a0b0c0d0e0f"
	f.Add(mustJSON(f, ProofRequest{Instance: "i", StartNonce: nonce, Nonce: nonce, State: StateFresh, Bound: 1e6}))
	f.Add(mustJSON(f, CheckRequest{Nonce: nonce, Kid: "k", JTI: idA, Subject: idB, Mode: ModeLive, Parents: []Parent{{JTI: idC}}}))
	f.Add(mustJSON(f, ResolveRequest{Nonce: nonce, KeyHash: HashOf(nil)}))
	f.Add(mustJSON(f, SnapshotRequest{Epoch: testEpoch, From: 1}))
	f.Fuzz(func(t *testing.T, body []byte) {
		if r, err := DecodeProofRequest(body); err == nil && !json.Valid(mustJSON(t, r)) {
			t.Error("proof request")
		}
		if r, err := DecodeCheckRequest(body); err == nil && r.KeyHash == nil && (r.JTI == "" || r.Subject == "") {
			t.Error("check request without claims")
		}
		_, _ = DecodeResolveRequest(body)
		_, _ = DecodeKeysRequest(body)
		_, _ = DecodeSnapshotRequest(body)
		_, _ = DecodeProofAnswer(body)
		_, _ = DecodeCheckAnswer(body)
		_, _ = DecodeResolveAnswer(body)
		_, _ = DecodeKeysAnswer(body)
	})
}

func TestRepliesIntoOurOwnSubjectsAreRefused(t *testing.T) {
	for reply, want := range map[string]bool{
		"": false, "tocsin.v1.feed.token.revoked": false, "$JS.API.STREAM.PURGE.TOCSIN": false, "_INBOX_cars.x.1": true, "_R_.abc": true,
	} {
		if ValidReply(reply) != want {
			t.Errorf("%q: %v", reply, !want)
		}
	}
}
