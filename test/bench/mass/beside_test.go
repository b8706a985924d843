package mass

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/bench/fleet"
	"github.com/tocsin-auth/tocsin/test/bench/stage"
	"github.com/tocsin-auth/tocsin/test/system"
)

// caller does one thing again and again, and notes how long each took.
type caller struct {
	stop chan struct{}
	done sync.WaitGroup
	all  []fleet.Call
	err  error
}

// Revocations are few: each changes the version of every set, which checks notice.
const (
	callEvery   = 5 * time.Millisecond
	revokeEvery = 100 * time.Millisecond
)

// call ends with the first error, which end returns.
func call(every time.Duration, do func() error) *caller {
	c := &caller{stop: make(chan struct{})}
	c.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for c.err == nil {
			select {
			case <-c.stop:
				return
			case <-tick.C:
			}
			began := time.Now()
			c.err = do()
			c.all = append(c.all, fleet.Call{At: began, Took: time.Since(began)})
		}
	})
	return c
}

func (c *caller) end(t testing.TB) []fleet.Call {
	t.Helper()
	close(c.stop)
	c.done.Wait()
	if c.err != nil {
		t.Fatal(c.err)
	}
	return c.all
}

// refreshing changes a user's tokens for new ones; revoking ends tokens that nobody has, one at a time.

func (b *bench) refreshing(u *system.User) *caller {
	return call(callEvery, func() error {
		got, err := b.try("POST", "/v1/token/refresh", "", map[string]any{"refresh_token": u.RefreshToken})
		if err != nil {
			return err
		}
		var tokens struct {
			RefreshToken string `json:"refresh_token"`
		}
		err = json.Unmarshal(got.Body, &tokens)
		u.RefreshToken = tokens.RefreshToken
		return err
	})
}

func (b *bench) revoking() *caller {
	return call(revokeEvery, func() error {
		_, err := b.try("POST", "/v1/admin/revocations?wait=none", b.admin.Auth(), map[string]any{"jti": uuid.Must(uuid.NewV7()).String()})
		return err
	})
}

// try makes a call that has to succeed, at the replica that doesn't make the mass revocation where there are two.
func (b *bench) try(method, path, authorization string, body any) (system.Answer, error) {
	got, err := b.Auth[len(b.Auth)-1].Try(b.Context(), method, path, authorization, body)
	if err == nil && got.Status != http.StatusOK {
		err = fmt.Errorf("%s %s: %v", method, path, got)
	}
	return got, err
}

// wire counts what is sent to every verifier, and when the large messages came.
type wire struct {
	mu              sync.Mutex
	messages, bytes int
	first, last     time.Time
}

const large = 4 << 10

func (w *wire) hear(m *nats.Msg) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.messages, w.bytes = w.messages+1, w.bytes+len(m.Data)
	if len(m.Data) < large {
		return
	}
	w.last = time.Now()
	if w.first.IsZero() {
		w.first = w.last
	}
}

func listen(t testing.TB, s *stage.Stage) *wire {
	t.Helper()
	nkey, err := nats.NkeyOptionFromSeed(s.Credentials)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect(stage.URL(s.Bus), nkey, nats.CustomInboxPrefix("_INBOX_resourcesvc"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	w := &wire{}
	if _, err = conn.Subscribe(events.LiveSubjects, w.hear); err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *wire) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strconv.Itoa(w.messages) + " messages, " + megabytes(int64(w.bytes))
}

func megabytes(n int64) string { return strconv.FormatFloat(float64(n)/1e6, 'f', 1, 64) + " MB" }
