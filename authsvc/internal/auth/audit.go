package auth

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
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
	p, err := p.check()
	if err != nil {
		return Page[AuditEntry]{}, err
	}
	var rows []store.AuditEntry
	err = s.view(ctx, func(tx *store.Tx) (err error) {
		if err = admin(ctx, tx, c); err == nil {
			rows, err = tx.Audit(ctx, p.Cursor, p.Limit+1)
		}
		return err
	})
	return pageOf(rows, p.Limit, auditEntry, func(e store.AuditEntry) string { return e.ID }), err
}

func auditEntry(e store.AuditEntry) AuditEntry {
	return AuditEntry{ID: e.ID, At: fromMicros(e.At), Actor: e.Actor, Action: e.Action, Target: e.Target, IP: e.IP,
		Detail: json.RawMessage(e.Detail)}
}
