package main

import (
	"net/http"
	"slices"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// whoami shows the caller as the verifier sees it. The other routes answer the same: decided afresh by auth, or for
// one of the user's quota.
func (a *api) whoami(w http.ResponseWriter, r *http.Request) error {
	p := principal(r)
	roles := slices.Concat([]string{}, p.Roles) // no roles are [], not null
	return writeJSON(w, http.StatusOK, struct {
		Subject   string          `json:"subject"`
		Roles     []string        `json:"roles"`
		Method    verifier.Method `json:"method"`
		Mode      verifier.Mode   `json:"mode"`
		SessionID string          `json:"session_id,omitempty"`
		KeyID     string          `json:"key_id,omitempty"`
		Actor     *actor          `json:"act,omitempty"`
	}{p.Subject, roles, p.Method, p.Mode, p.SessionID, p.KeyID, actorOf(p)})
}

// actor is who acts for the subject, with which API key (RFC 8693, section 4.1).
type actor struct {
	Subject  string `json:"sub"`
	ClientID string `json:"client_id"`
}

func actorOf(p *verifier.Principal) *actor {
	if p.Actor == "" {
		return nil
	}
	return &actor{p.Actor, p.ClientID}
}
