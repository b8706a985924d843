package main

import (
	"net/http"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// whoami shows the caller as the verifier sees it. The elite route answers the same, decided afresh by auth.
func (a *api) whoami(w http.ResponseWriter, r *http.Request) error {
	p := principal(r)
	return writeJSON(w, http.StatusOK, struct {
		Subject   string          `json:"subject"`
		Roles     []string        `json:"roles"`
		Method    verifier.Method `json:"method"`
		Mode      verifier.Mode   `json:"mode"`
		SessionID string          `json:"session_id,omitempty"`
		KeyID     string          `json:"key_id,omitempty"`
		Actor     string          `json:"act,omitempty"`
	}{p.Subject, p.Roles, p.Method, p.Mode, p.SessionID, p.KeyID, p.Actor})
}
