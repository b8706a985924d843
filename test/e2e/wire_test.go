package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
	"github.com/tocsin-auth/tocsin/test/system"
)

// wire hears what a resource service hears: every event that is sent. It is not safe for concurrent use.
type wire struct {
	conn  *nats.Conn
	sub   *nats.Subscription
	heard []events.Event
}

func listen(t *testing.T, a *system.Auth) *wire {
	t.Helper()
	nkey, err := nats.NkeyOptionFromSeed(filepath.Join(a.DataDir, "nats", "resourcesvc.nk"))
	if err != nil {
		t.Fatal(err)
	}
	conn := natstest.Dial(t, a.NATSURL, nkey, nats.CustomInboxPrefix("_INBOX_resourcesvc"))
	t.Cleanup(conn.Close)
	sub, err := conn.SubscribeSync(events.LiveSubjects)
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return &wire{conn: conn, sub: sub}
}

// count reads what was delivered, and returns how many events were heard so far. What a verifier has applied was
// delivered here too: the answer to a flush comes behind it.
func (w *wire) count(t *testing.T) int {
	t.Helper()
	if err := w.conn.FlushTimeout(machine.Patience); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := w.sub.NextMsg(time.Millisecond)
		if errors.Is(err, nats.ErrTimeout) {
			return len(w.heard)
		}
		if err != nil {
			t.Fatal(err)
		}
		batch, err := events.DecodeBatch(m.Data)
		if err != nil {
			t.Fatalf("on %s: %v", m.Subject, err)
		}
		w.heard = append(w.heard, batch.Events...)
	}
}

// since returns what was heard after a count.
func (w *wire) since(t *testing.T, count int) []events.Event {
	t.Helper()
	w.count(t)
	return w.heard[count:]
}

// said renders an event in few words: its type and what it is about. Ids and times stand for themselves.
func said(e events.Event) string {
	text := string(e.Payload.Type()) + " "
	switch p := e.Payload.(type) {
	case events.TokenRevoked:
		switch {
		case p.JTI != "":
			text += "jti " + p.JTI
		case p.SessionID != "":
			text += "session " + p.SessionID
		case p.UserID != "":
			text += "user " + p.UserID
		case p.UserIDs != nil:
			text += "users " + strings.Join(p.UserIDs, ",")
		default:
			text += "before"
		}
		if p.Keys {
			text += " with keys"
		}
	case events.RoleChanged:
		text += fmt.Sprintf("%s [%s] %s", p.UserID, strings.Join(p.Roles, ","), p.Plan)
		if p.Disabled {
			text += " disabled"
		}
	case events.APIKeyRotated:
		text += p.KeyID
		switch {
		case p.NotAfter != nil && *p.NotAfter <= e.At:
			text += " ends"
		case p.NotAfter != nil:
			text += " ends later"
		case *p.Suspended:
			text += " suspended"
		default:
			text += " resumed"
		}
	case events.KeysChanged:
		return string(e.Payload.Type())
	}
	return text
}
