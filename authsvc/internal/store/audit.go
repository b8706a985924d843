package store

import "context"

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
	if e.Detail == "" {
		e.Detail = "{}"
	}
	return tx.later(ctx, `INSERT INTO audit (id, at, actor, action, target, ip, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		tx.newID(0), tx.Now(), e.Actor, e.Action, e.Target, e.IP, e.Detail)
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
