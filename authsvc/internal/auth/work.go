package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// work is one transaction in which a caller changes something.
type work struct {
	*store.Tx
	by   Caller
	ring KeyRing
	done Change
}

// actorSystem stands in the audit log for what nobody asked for.
const actorSystem = "system"

// deed is one thing that was done: what the audit log says of it, and the events that tell the verifiers.
type deed struct {
	action string
	target string // as in store.NewEvent
	reason string
	detail map[string]any // never holds a secret
	events []events.Payload
}

// record writes a deed's events and its audit row. Everything that ends or narrows trust goes through here, so that
// neither can be forgotten.
func (w *work) record(ctx context.Context, d deed) error {
	actor := w.by.UserID
	if actor == "" {
		actor = actorSystem
	}
	var ids []string
	for _, payload := range d.events {
		more, err := w.InsertEvents(ctx, store.NewEvent{Payload: payload, Target: d.target, Actor: actor, Reason: d.reason})
		if err != nil {
			return err
		}
		ids = append(ids, more...)
	}
	w.done.EventIDs = append(w.done.EventIDs, ids...)
	return w.audit(ctx, actor, ids, d)
}

func (w *work) audit(ctx context.Context, actor string, eventIDs []string, d deed) error {
	detail := make(map[string]any, len(d.detail)+3)
	for name, value := range d.detail {
		detail[name] = value
	}
	if len(eventIDs) > 0 {
		detail["events"] = eventIDs
	}
	if d.reason != "" {
		detail["reason"] = d.reason
	}
	if w.by.Mode != "" {
		detail["actor_mode"] = w.by.Mode
	}
	text, err := json.Marshal(detail)
	if err != nil {
		return fmt.Errorf("audit detail: %w", err)
	}
	return w.InsertAudit(ctx, store.AuditEntry{
		Actor: actor, Action: d.action, Target: d.target, IP: w.by.IP, Detail: string(text)})
}

// nothingChanged remembers the live event that already says what the caller wants, for the receipt.
func (w *work) nothingChanged(ctx context.Context, target string, t events.Type) error {
	e, err := w.LiveEvent(ctx, target, t)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	w.done.Earlier = append(w.done.Earlier, e.ID)
	return nil
}

// The targets of events and audit rows.
func userTarget(id string) string    { return "user:" + id }
func sessionTarget(id string) string { return "session:" + id }
func keyTarget(id string) string     { return "key:" + id }
func jtiTarget(id string) string     { return "jti:" + id }

const (
	targetUsers  = "users"
	targetBefore = "before"
	targetKeySet = "keys"

	targetFeedKeys = "feed_keys"
	targetPlans    = "plans"

	targetJobGrants = "job_grants"
)
