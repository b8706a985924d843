package upgrade

import (
	"crypto/sha256"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
	"github.com/tocsin-auth/tocsin/test/system"
)

const service = "resourcesvc"

// connect joins the bus as a service does.
func connect(t *testing.T, a *system.Auth) *nats.Conn {
	t.Helper()
	nkey, err := nats.NkeyOptionFromSeed(filepath.Join(a.DataDir, "nats", service+".nk"))
	if err != nil {
		t.Fatal(err)
	}
	nc := natstest.Dial(t, a.NATSURL, nkey, nats.CustomInboxPrefix("_INBOX_"+service))
	t.Cleanup(nc.Close)
	return nc
}

// ofNewer adds what a verifier of a later release might ask besides.
func ofNewer(t *testing.T, question any) []byte {
	t.Helper()
	body, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(`{"of_the_future":{"a":[1,null]},`), body[1:]...)
}

// answered asks until there is an answer: a proof request is answered by the next round of the dispatcher.
func answered(t *testing.T, nc *nats.Conn, subject string, body []byte) *nats.Msg {
	t.Helper()
	for began := time.Now(); ; {
		m, err := nc.Request(subject, body, 5*time.Second) // one that comes too late isn't answered
		refusal := ""
		if err == nil {
			refusal = m.Header.Get(events.HeaderError)
		}
		switch {
		case err == nil && refusal == "" && m.Header.Get(events.HeaderSignature) != "":
			return m
		case time.Since(began) > machine.Patience:
			t.Fatalf("%s: %v, refused: %q", subject, err, refusal)
		}
	}
}

// Answers hold the hash of the question's exact bytes, so the fields that authsvc doesn't know are signed for, too.
func TestNoCollateralOfQuestionsOfANewerVerifier(t *testing.T) {
	a := system.StartAuth(t, nil)
	u := a.Register(t, "carol")
	nc := connect(t, a)
	keyHash := events.Hash(sha256.Sum256([]byte(u.LiveKey)))
	nonce := events.NewNonce()

	body := ofNewer(t, events.ProofRequest{Instance: "newer", StartNonce: events.NewNonce(), Nonce: nonce,
		State: events.StateStarting, Bound: time.Second.Microseconds()})
	proof, err := events.DecodeProofAnswer(answered(t, nc, events.ProofSubject(service), body).Data)
	if err != nil || proof.Nonce != nonce || proof.Request != events.HashOf(body) {
		t.Errorf("proof: %+v %v", proof, err)
	}

	body = ofNewer(t, events.KeysRequest{Nonce: nonce})
	keys, err := events.DecodeKeysAnswer(answered(t, nc, events.KeysSubject(service), body).Data)
	if err != nil || keys.Request != events.HashOf(body) {
		t.Errorf("keys: %+v %v", keys, err)
	}

	body = ofNewer(t, events.ResolveRequest{Nonce: nonce, KeyHash: keyHash})
	resolved, err := events.DecodeResolveAnswer(answered(t, nc, events.ResolveSubject(service), body).Data)
	if err != nil || !resolved.Found || resolved.Request != events.HashOf(body) {
		t.Errorf("resolve: %+v %v", resolved, err)
	}

	body = ofNewer(t, events.CheckRequest{Nonce: nonce, KeyHash: &keyHash})
	checked, err := events.DecodeCheckAnswer(answered(t, nc, events.CheckSubject(service), body).Data)
	if err != nil || !checked.Active || checked.Request != events.HashOf(body) {
		t.Errorf("check: %+v %v", checked, err)
	}

	body = ofNewer(t, quotaRequest(nonce, u.ID))
	granted, err := events.DecodeQuotaAnswer(answered(t, nc, events.QuotaSubject(service), body).Data, 1)
	if err != nil || granted.Request != events.HashOf(body) { // busy or not: a machine may be
		t.Errorf("quota: %+v %v", granted, err)
	}

	a.Must(t, 204, "POST", "/v1/logout?wait=published&timeout=30s", u.Auth(), nil) // so that there is a page
	body = ofNewer(t, events.SnapshotRequest{Epoch: proof.Epoch, From: 1})
	if page, err := events.DecodeBatch(answered(t, nc, events.SnapshotSubject(service), body).Data); err != nil || page.FirstSeq() != 1 {
		t.Errorf("snapshot: %+v %v", page, err)
	}
}

func quotaRequest(nonce, user string) events.QuotaRequest {
	return events.QuotaRequest{Nonce: nonce, StartNonce: nonce, Seq: 1, Entries: []events.QuotaEntry{{Subject: user, Resource: "ai-jobs", Want: 1}}}
}

// An older verifier doesn't know that authsvc may be busy. It finds no answer then, as in the unsigned refusal that it got before, and no allowance.
func TestABusyAuthGivesAnOlderVerifierNoAnswer(t *testing.T) {
	a := system.StartAuth(t, nil)
	a.Must(t, 200, "PUT", "/v1/admin/plans", a.Admin(t).Auth(), map[string]any{"plans": []any{map[string]any{
		"name": "free", "limits": []any{map[string]any{"resource": "ai-jobs", "limit": 10, "window": "744h"}}}}})
	u, nc := a.Register(t, "carol"), connect(t, a)
	const many = 2000 // of which 256 may wait
	answers, err := nc.SubscribeSync(nc.NewRespInbox())
	if err != nil {
		t.Fatal(err)
	}
	for range many {
		body, err := json.Marshal(quotaRequest(events.NewNonce(), u.ID))
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.PublishRequest(events.QuotaSubject(service), answers.Subject, body); err != nil {
			t.Fatal(err)
		}
	}
	busy := 0
	for range many {
		m, err := answers.NextMsg(machine.Patience)
		if err != nil {
			break // what is lost in a flood is lost
		}
		var older struct { // what releases before this field read
			Grants []struct {
				Term    int64 `json:"term"`
				Allowed int64 `json:"allowed"`
			} `json:"grants"`
		}
		if a, err := events.DecodeQuotaAnswer(m.Data, 1); err != nil || !a.Busy && !a.Grants[0].Busy {
			continue
		}
		busy++
		if err := json.Unmarshal(m.Data, &older); err != nil || len(older.Grants) == 1 && (older.Grants[0].Term == 0 || older.Grants[0].Allowed > 0) {
			t.Fatalf("%s: %v", m.Data, err)
		}
	}
	if busy == 0 {
		t.Error("it was never busy")
	}
}
