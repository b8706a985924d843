package store

import (
	"context"
	"fmt"
	"time"
)

// AuditEntry is a row of audit.
type AuditEntry struct {
	ID     string
	At     int64
	Actor  string // user id, or system, or cli
	Action string
	Target string
	IP     string
	Detail string // JSON object
}

// InsertAudit adds an entry; its ID and At are made here.
func (tx *Tx) InsertAudit(ctx context.Context, e AuditEntry) error {
	_, err := tx.OpenAudit(ctx, e)
	return err
}

// OpenAudit is InsertAudit for what goes on in later transactions, which tell the rest by [Tx.AmendAudit].
func (tx *Tx) OpenAudit(ctx context.Context, e AuditEntry) (id string, err error) {
	if e.Detail == "" {
		e.Detail = "{}"
	}
	id = tx.newID(0)
	return id, tx.later(ctx, `INSERT INTO audit (id, at, actor, action, target, ip, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		id, tx.Now(), e.Actor, e.Action, e.Target, e.IP, e.Detail)
}

// beforeCursor keeps rows before a cursor, $1; without one, all: ids are hexadecimal and no letter is above f. It is one
// comparison with a constant, so that a page deep in a long table is found by the index.
const beforeCursor = `id < COALESCE(NULLIF(CAST($1 AS TEXT), ''), 'g')`

const auditPage = `SELECT id, at, actor, action, target, ip, detail FROM audit
	WHERE ` + beforeCursor + ` ORDER BY id DESC LIMIT $2`

// Audit reads a page of the log, newest first, before a cursor (the last id of the page before, or "").
func (tx *Tx) Audit(ctx context.Context, before string, limit int) ([]AuditEntry, error) {
	scan := func(s scanner) (e AuditEntry, err error) {
		err = s.Scan(&e.ID, &e.At, &e.Actor, &e.Action, &e.Target, &e.IP, &e.Detail)
		return e, err
	}
	return queryAll(ctx, tx, scan, auditPage, before, limit)
}

// AmendAudit replaces the detail of an entry.
func (tx *Tx) AmendAudit(ctx context.Context, id, detail string) error {
	return tx.execOne(ctx, `UPDATE audit SET detail = $2 WHERE id = $1`, id, detail)
}

// firstIDOf is below every id that was made at a time in milliseconds or later, and above all others.
func firstIDOf(millis int64) string {
	return fmt.Sprintf("%08x-%04x-7000-8000-000000000000", millis>>16, millis&0xffff)
}

const auditBefore = `SELECT EXISTS (SELECT 1 FROM audit WHERE id < $1)`

// AuditBefore reports whether there are entries from before a time.
func (tx *Tx) AuditBefore(ctx context.Context, before time.Time) (found bool, err error) {
	err = tx.queryRow(ctx, auditBefore, firstIDOf(before.UnixMilli())).Scan(&found)
	return found, err
}

const pruneAudit = `DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < $1 ORDER BY id LIMIT $2)`

// PruneAudit deletes at most limit entries from before a time, the oldest first, and returns how many.
func (tx *Tx) PruneAudit(ctx context.Context, before time.Time, limit int) (int64, error) {
	return tx.exec(ctx, pruneAudit, firstIDOf(before.UnixMilli()), limit)
}
