package auth

import (
	"context"
	"encoding/json"
	"time"
)

// AuditEntry is one row of the audit log.
type AuditEntry struct {
	ID     string          `json:"id"`
	At     time.Time       `json:"at"`
	Actor  string          `json:"actor"`
	Action string          `json:"action"`
	Target string          `json:"target"`
	IP     string          `json:"ip,omitempty"`
	Detail json.RawMessage `json:"detail,omitempty"`
}

// Audit lists the audit log for admins, newest first.
func (s *Service) Audit(ctx context.Context, c Caller, p PageRequest) (Page[AuditEntry], error) {
	return Page[AuditEntry]{}, errNotImplemented
}
