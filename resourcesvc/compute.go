package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
)

type computation struct {
	Payload json.RawMessage `json:"payload"`
}

// compute stands for a service that does the work. It is an ordinary route, which knows nothing of jobs: its caller is a user,
// or a worker that acts for one, and both are shown and logged.
func (a *api) compute(w http.ResponseWriter, r *http.Request) error {
	var in computation
	if err := decodeBody(w, r, &in); err != nil {
		return err
	}
	if in.Payload == nil {
		return invalid("payload", "is required")
	}
	var plain bytes.Buffer
	if err := json.Compact(&plain, in.Payload); err != nil {
		return invalid("payload", "is not valid JSON")
	}
	digest, p := sha256.Sum256(plain.Bytes()), principal(r)
	a.log.InfoContext(r.Context(), "computed", "subject", p.Subject, "actor", p.Actor, "key", p.KeyID, "bytes", plain.Len())
	return writeJSON(w, http.StatusOK, struct {
		Subject string `json:"subject"`
		Actor   *actor `json:"act,omitempty"`
		Bytes   int    `json:"bytes"`
		Digest  string `json:"sha256"`
	}{p.Subject, actorOf(p), plain.Len(), hex.EncodeToString(digest[:])})
}
