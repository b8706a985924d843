package store

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/tocsin-auth/tocsin/authsvc/internal/defect"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// NewEvent is an event that a transaction announces.
type NewEvent struct {
	Payload events.Payload
	Target  string // selector:id, as in user:<id>, session:<id>, jti:<id>, key:<id>; or users, before, keys
	Actor   string // user id, or system
	Reason  string
}

// Event is a row of events. Everything from Epoch on is filled by the dispatcher, and zero until then.
type Event struct {
	ID          string
	CreatedAt   int64
	Type        events.Type
	Payload     []byte // the type's own fields
	Target      string
	Actor       string
	Reason      string
	Epoch       string
	Seq         uint64
	At          int64
	Until       int64
	Body        []byte
	Chain       []byte
	PublishedAt int64
}

const eventColumns = `id, created_at, type, payload, target, actor, reason, COALESCE(epoch, ''), COALESCE(seq, 0),
	COALESCE(at, 0), COALESCE(until, 0), body, chain, COALESCE(published_at, 0)`

func scanEvent(s scanner) (e Event, err error) {
	var payload string
	err = s.Scan(&e.ID, &e.CreatedAt, &e.Type, &payload, &e.Target, &e.Actor, &e.Reason, &e.Epoch, &e.Seq,
		&e.At, &e.Until, &e.Body, &e.Chain, &e.PublishedAt)
	e.Payload = []byte(payload)
	return e, err
}

// MaxEventUsers is how many user ids one event carries, so that its bytes stay below [events.MaxEventSize].
const MaxEventUsers = 1000

const insertEvent = `INSERT INTO events (id, created_at, type, payload, target, actor, reason)
	VALUES ($1, $2, $3, $4, $5, $6, $7)`

// InsertEvent announces a change. It MUST be called in the transaction of the change itself. For a token.revoked of
// more than [MaxEventUsers] users use [Tx.InsertEvents]. An event that could not be numbered, as it is invalid or too
// large, is refused with an error that wraps [events.ErrInvalid]: behind one that can't be, all others would wait.
func (tx *Tx) InsertEvent(ctx context.Context, e NewEvent) (id string, err error) {
	payload, err := encodeNew(e.Payload)
	if err != nil {
		return "", fmt.Errorf("new event: %w", err)
	}
	id = tx.newID(0)
	row := []any{id, tx.Now(), string(e.Payload.Type()), string(payload), e.Target, e.Actor, e.Reason}
	if defect.LateEvent {
		tx.late.keep(row)
		return id, nil
	}
	return id, tx.later(ctx, insertEvent, row...)
}

// encodeNew encodes a payload whose event will have room for whatever seq and times numbering gives it.
func encodeNew(p events.Payload) ([]byte, error) {
	payload, err := events.EncodePayload(p)
	if err != nil {
		return nil, err
	}
	_, err = events.EncodeEvent(math.MaxUint64, p.Type(), math.MaxInt64, math.MaxInt64, payload)
	return payload, err
}

// InsertEvents is [Tx.InsertEvent] that splits a token.revoked of many users into as many events as it needs.
func (tx *Tx) InsertEvents(ctx context.Context, e NewEvent) (ids []string, err error) {
	revoked, ok := e.Payload.(events.TokenRevoked)
	if !ok || len(revoked.UserIDs) <= MaxEventUsers {
		id, err := tx.InsertEvent(ctx, e)
		return []string{id}, err
	}
	for users := range slices.Chunk(revoked.UserIDs, MaxEventUsers) {
		part := revoked
		part.UserIDs = users
		e.Payload = part
		id, err := tx.InsertEvent(ctx, e)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Event reads an event.
func (tx *Tx) Event(ctx context.Context, id string) (Event, error) {
	return scanEvent(tx.queryRow(ctx, `SELECT `+eventColumns+` FROM events WHERE id = $1`, id))
}

// LiveEvent reads the newest event of a type about a target that hasn't lapsed: the one whose receipt a call gets that
// changes nothing.
func (tx *Tx) LiveEvent(ctx context.Context, target string, t events.Type) (Event, error) {
	return scanEvent(tx.queryRow(ctx, `SELECT `+eventColumns+` FROM events
		WHERE target = $1 AND type = $2 AND (until IS NULL OR until > $3) ORDER BY id DESC LIMIT 1`,
		target, string(t), tx.Now()))
}

const revocationsPage = `SELECT ` + eventColumns + ` FROM events
	WHERE ` + beforeCursor + ` AND type = $2 AND (until IS NULL OR until > $3) ORDER BY id DESC LIMIT $4`

// LiveRevocations reads a page of token.revoked events that haven't lapsed, newest first, before a cursor (the last id
// of the page before, or "").
func (tx *Tx) LiveRevocations(ctx context.Context, before string, limit int) ([]Event, error) {
	return queryAll(ctx, tx, scanEvent, revocationsPage, before, string(events.TypeTokenRevoked), tx.Now(), limit)
}
