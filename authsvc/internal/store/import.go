package store

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// SignedEvent is an event that was read from the stream, with a good signature.
type SignedEvent struct {
	Epoch string
	events.Event
}

// Imported counts what an import did.
type Imported struct {
	// Effects are the events whose effect the tables had forgotten, Events those that were announced again.
	Effects, Events int
}

// Add sums two counts.
func (i Imported) Add(more Imported) Imported {
	return Imported{i.Effects + more.Effects, i.Events + more.Events}
}

// importLimit bounds one transaction of an import, in events and in ids of users.
const importLimit = 200

// ImportEvents redoes the effects of events that a database may have lost, and announces those again that changed
// something or live and aren't there. Tables and feed are only ever tightened, or given the state of a higher version, so
// that a second time, another order and what the database knew anyway do no harm. An effect is redone however old the
// event is: that it lapsed means that access tokens have died since, while sessions, keys and roles live in the tables.
//
// Users, sessions and keys that the database doesn't know were made after the backup: there is nothing to change, the
// event is kept. Events of keys.changed are left out: they are about a set of keys that isn't this database's.
func (db *DB) ImportEvents(ctx context.Context, all []SignedEvent) (Imported, error) {
	var done Imported
	for len(all) > 0 {
		n := importChunk(all)
		var part Imported
		err := db.Update(ctx, func(tx *Tx) (err error) {
			part, err = tx.importEvents(ctx, all[:n])
			return err
		})
		if err != nil {
			return done, err
		}
		done, all = done.Add(part), all[n:]
	}
	return done, nil
}

// importChunk returns how many of the first events go into one transaction.
func importChunk(all []SignedEvent) int {
	ids := 0
	for i, e := range all {
		if revoked, ok := e.Payload.(events.TokenRevoked); ok {
			ids += len(revoked.UserIDs)
		}
		if i == importLimit || (i > 0 && ids > MaxEventUsers) {
			return i
		}
	}
	return len(all)
}

// importing is one event on its way into the database.
type importing struct {
	SignedEvent
	target  string
	content string
	// order is that of the locks which the effect takes.
	order int
}

// identity is what two copies of an event share, whatever epoch numbered them.
type identity struct{ target, typ, content string }

func (i importing) identity() identity {
	return identity{i.target, string(i.Payload.Type()), i.content}
}

func (tx *Tx) importEvents(ctx context.Context, all []SignedEvent) (Imported, error) {
	todo := prepareImport(all)
	known, err := tx.knownEvents(ctx, todo)
	if err != nil {
		return Imported{}, err
	}
	var done Imported
	var users map[string]User
	for _, e := range todo {
		if e.order > orderBefore && users == nil { // all at once, in their order, after authority and before the rest
			if users, err = tx.usersOf(ctx, todo); err != nil {
				return done, err
			}
		}
		changed, err := tx.redo(ctx, e.Event, users)
		if err != nil {
			return done, err
		}
		if changed {
			done.Effects++
		}
		if _, known := known[e.identity()]; changed || (!known && e.matters(tx.Now())) {
			done.Events++
			if err := tx.announceAgain(ctx, e, changed); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

// matters reports whether anybody still needs the event: verifiers, or this database itself, that knows nothing else of a token.
func (e importing) matters(now int64) bool {
	return e.Until > now || (strings.HasPrefix(e.target, jtiTarget) && e.At > now-revokedKept.Microseconds())
}

// The order of locks.
const (
	orderBefore = iota
	orderUser
	orderSession
	orderKey
	orderRest
)

// prepareImport drops doubles and what can't be numbered again, and sorts by the order of locks.
func prepareImport(all []SignedEvent) []importing {
	var todo []importing
	seen := make(map[identity]struct{}, len(all))
	for _, signed := range all {
		content, err := signed.Content()
		if err == nil {
			_, err = events.EncodeEvent(math.MaxUint64, signed.Payload.Type(), math.MaxInt64, math.MaxInt64, content)
		}
		if err != nil || signed.Payload.Type() == events.TypeKeysChanged {
			continue
		}
		e := importing{SignedEvent: signed, content: string(content)}
		e.target, e.order = targetOf(signed.Payload)
		if _, double := seen[e.identity()]; !double {
			seen[e.identity()] = struct{}{}
			todo = append(todo, e)
		}
	}
	slices.SortStableFunc(todo, func(a, b importing) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.target, b.target))
	})
	return todo
}

// targetOf returns the target that the domain gives an event, and the place of its locks.
func targetOf(p events.Payload) (target string, order int) {
	switch p := p.(type) {
	case events.RoleChanged:
		return "user:" + p.UserID, orderUser
	case events.APIKeyRotated:
		return "key:" + p.KeyID, orderKey
	case events.TokenRevoked:
		switch {
		case p.Before > 0:
			return "before", orderBefore
		case p.UserID != "":
			return "user:" + p.UserID, orderUser
		case len(p.UserIDs) > 0:
			return "users", orderUser
		case p.SessionID != "":
			return "session:" + p.SessionID, orderSession
		}
		return jtiTarget + p.JTI, orderRest
	}
	return "unknown:", orderRest
}

// knownEvents reads which of the events the database has, whatever their number.
func (tx *Tx) knownEvents(ctx context.Context, todo []importing) (map[identity]struct{}, error) {
	var targets []string
	for _, e := range todo {
		targets = append(targets, e.target)
	}
	slices.Sort(targets)
	targets = slices.Compact(targets)
	if len(targets) == 0 {
		return nil, nil
	}
	scan := func(s scanner) (i identity, err error) {
		err = s.Scan(&i.target, &i.typ, &i.content)
		return i, err
	}
	rows, err := queryAll(ctx, tx, scan, `SELECT target, type, payload FROM events WHERE target IN (`+
		placeholders(1, len(targets))+`)`, anys(targets)...)
	known := make(map[identity]struct{}, len(rows))
	for _, i := range rows {
		known[i] = struct{}{}
	}
	return known, err
}

// usersOf locks the users whom events are about.
func (tx *Tx) usersOf(ctx context.Context, todo []importing) (map[string]User, error) {
	var ids []string
	for _, e := range todo {
		switch p := e.Payload.(type) {
		case events.RoleChanged:
			ids = append(ids, p.UserID)
		case events.TokenRevoked:
			ids = append(ids, p.UserIDs...)
			if p.UserID != "" {
				ids = append(ids, p.UserID)
			}
		}
	}
	locked, err := tx.LockUsers(ctx, ids)
	users := make(map[string]User, len(locked))
	for _, u := range locked {
		users[u.ID] = u
	}
	return users, err
}

// redo gives the tables the effect of an event and reports whether they lacked it.
func (tx *Tx) redo(ctx context.Context, e events.Event, users map[string]User) (changed bool, err error) {
	switch p := e.Payload.(type) {
	case events.RoleChanged:
		return tx.redoRoles(ctx, p, users)
	case events.APIKeyRotated:
		return tx.redoKey(ctx, p, e.At)
	case events.TokenRevoked:
		switch {
		case p.Before > 0:
			return tx.RaiseBefore(ctx, p.Before, p.Keys)
		case p.SessionID != "":
			return tx.EndSession(ctx, p.SessionID)
		case p.UserID != "":
			return tx.redoVersion(ctx, p.UserID, p, users)
		}
		for _, id := range p.UserIDs {
			one, err := tx.redoVersion(ctx, id, p, users)
			if err != nil {
				return changed, err
			}
			changed = changed || one
		}
	}
	return changed, nil // the event itself is what the database knows of a jti
}

func (tx *Tx) redoRoles(ctx context.Context, p events.RoleChanged, users map[string]User) (bool, error) {
	u, exists := users[p.UserID]
	if !exists || u.RV >= p.RV {
		return false, nil
	}
	roles := append([]string{}, p.Roles...)
	_, err := tx.exec(ctx, `UPDATE users SET roles = $2, plan = $3, disabled = $4, rv = $5 WHERE id = $1`,
		p.UserID, listText(roles), p.Plan, p.Disabled, p.RV)
	u.RV = p.RV
	users[p.UserID] = u
	return true, err
}

func (tx *Tx) redoVersion(ctx context.Context, id string, p events.TokenRevoked, users map[string]User) (bool, error) {
	u, exists := users[id]
	keysTV := u.KeysTV
	if p.Keys {
		keysTV = max(keysTV, p.TV)
	}
	if !exists || (u.TV >= p.TV && u.KeysTV == keysTV) {
		return false, nil
	}
	u.TV, u.KeysTV = max(u.TV, p.TV), keysTV
	users[id] = u
	_, err := tx.exec(ctx, `UPDATE users SET tv = $2, keys_tv = $3 WHERE id = $1`, id, u.TV, u.KeysTV)
	return true, err
}

// redoKey leaves a successor out that the database lost: nobody could rotate the key again to replace it. A suspension that it
// lost is held, since events don't say whose it was.
func (tx *Tx) redoKey(ctx context.Context, p events.APIKeyRotated, at int64) (bool, error) {
	var ended, suspended int64
	var err error
	if p.NotAfter != nil {
		dies, atOnce := *p.NotAfter, *p.NotAfter <= at
		if atOnce {
			dies = tx.Now()
		}
		ended, err = tx.exec(ctx, `UPDATE api_keys SET not_after = CASE WHEN not_after < $2 THEN not_after ELSE $2 END,
			successor = COALESCE(successor, (SELECT next.id FROM api_keys next WHERE next.id = $3)), ended = (ended OR $4)
			WHERE id = $1 AND (not_after IS NULL OR not_after > $2 OR (NOT ended AND $4))`, p.KeyID, dies, p.Successor, atOnce)
	}
	if p.Suspended != nil && err == nil {
		suspended, err = tx.exec(ctx, `UPDATE api_keys SET suspended = $2, held = $2, kv = $3 WHERE id = $1 AND kv < $3`, p.KeyID, *p.Suspended, p.KV)
	}
	return ended+suspended > 0, err
}

// announceAgain gives an event back to the feed, to be numbered like any other.
func (tx *Tx) announceAgain(ctx context.Context, e importing, changed bool) error {
	id := tx.newID(0)
	_, err := tx.exec(ctx, `INSERT INTO events (id, created_at, type, payload, target, actor, reason)
		VALUES ($1, $2, $3, $4, $5, 'system', 'imported from the stream')`,
		id, tx.Now(), string(e.Payload.Type()), e.content, e.target)
	if err != nil {
		return err
	}
	detail, err := json.Marshal(map[string]any{"type": e.Payload.Type(), "epoch": e.Epoch, "seq": e.Seq, "events": []string{id}, "forgotten": changed})
	if err != nil {
		return err
	}
	return tx.InsertAudit(ctx, AuditEntry{Actor: "system", Action: "event.imported", Target: e.target, Detail: string(detail)})
}

// EnabledAdmins returns how many users can act as an admin.
func (db *DB) EnabledAdmins(ctx context.Context) (n int, err error) {
	err = db.View(ctx, func(tx *Tx) error {
		return tx.queryRow(ctx, `SELECT count(*) FROM users WHERE `+isAdmin+` AND NOT disabled`).Scan(&n)
	})
	return n, err
}
