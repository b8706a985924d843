// Package keyuse notes when and where API keys were used last, and writes it down lazily. Nothing is decided by it, and nobody
// waits for it: what is told is kept in memory, bounded for each service and in all, and a few rows at a time are written by one
// goroutine, about four times a minute. So whoever floods it makes itself forgotten, and costs the database next to nothing.
package keyuse

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	// writeEvery is how long uses are gathered.
	writeEvery = 15 * time.Second
	// writeTimeout bounds one transaction.
	writeTimeout = 5 * time.Second
	// maxMessages bounds what is read of one service between two writes: as much as 4,000 of its instances tell.
	maxMessages = 1 << 10
	// maxKeys and maxAllKeys bound the keys of one service, and of all, between two writes.
	maxKeys    = 1 << 13
	maxAllKeys = 1 << 15
	// pendingLimit and pendingBytes bound what waits to be read.
	pendingLimit = 1 << 10
	pendingBytes = pendingLimit * events.MaxUsed
)

// Own is the service that authsvc's own uses are noted under: calls made with a key, and introspected keys.
const Own = "authsvc"

// Store writes uses down. [store.DB] does, by [Write].
type Store func(ctx context.Context, uses []store.KeyUse) (written int64, err error)

// Write returns a Store of a database.
func Write(db *store.DB) Store {
	return func(ctx context.Context, uses []store.KeyUse) (written int64, err error) {
		err = db.Update(ctx, func(tx *store.Tx) (err error) {
			written, err = tx.TouchAPIKeys(ctx, uses)
			return err
		})
		return written, err
	}
}

// Stats counts since the start. Dropped counts messages that couldn't be read, and messages and keys beyond a bound; Failed
// are uses that the database didn't take.
type Stats struct {
	Messages, Dropped, Written, Failed uint64
}

// Recorder gathers and writes. It is safe for concurrent use.
type Recorder struct {
	write Store
	log   *slog.Logger
	now   func() time.Time // monotonic

	mu       sync.Mutex
	services map[string]*service
	keys     int // of all services

	messages, dropped, written, failed atomic.Uint64

	end    context.CancelFunc
	writer sync.WaitGroup
}

// service is what one service told since the last write.
type service struct {
	messages int
	used     map[string]time.Time // by key id
}

// Start begins to write. Close it.
func Start(ctx context.Context, write Store, log *slog.Logger) *Recorder {
	r := newRecorder(write, log, time.Now)
	ctx, r.end = context.WithCancel(context.WithoutCancel(ctx))
	r.writer.Go(func() { r.run(ctx) })
	return r
}

func newRecorder(write Store, log *slog.Logger, now func() time.Time) *Recorder {
	return &Recorder{write: write, log: log, now: now, services: map[string]*service{}}
}

// Listen takes what services tell, until the connection is closed. The error is of the subscription.
func (r *Recorder) Listen(conn *nats.Conn) error {
	sub, err := conn.QueueSubscribe(events.UsedSubject("*"), events.QueueGroup, func(m *nats.Msg) { r.take(m.Subject, m.Data) })
	if err == nil {
		err = sub.SetPendingLimits(pendingLimit, pendingBytes)
	}
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", events.UsedSubject("*"), err)
	}
	return nil
}

// Note notes that authsvc itself has just accepted a key. It doesn't wait.
func (r *Recorder) Note(keyID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note(r.service(Own), keyID, r.now())
}

// take reads one message, of whichever service the subject names: the bus lets no other publish there.
func (r *Recorder) take(subject string, body []byte) {
	name := subject[strings.LastIndexByte(subject, '.')+1:]
	if !events.ValidService(name) || !r.admit(name) {
		r.dropped.Add(1)
		return
	}
	used, err := events.DecodeUsed(body)
	if err != nil {
		r.dropped.Add(1)
		return
	}
	r.messages.Add(1)
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range used.Keys {
		r.note(r.service(name), k.KeyID, now.Add(-time.Duration(k.Ago)*time.Second))
	}
}

// admit counts a message of a service before it is read.
func (r *Recorder) admit(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.services[name] == nil && len(r.services) >= maxMessages { // on a bus without accounts anybody may have any name
		return false
	}
	s := r.service(name)
	s.messages++
	return s.messages <= maxMessages
}

// service and note are called with the lock.
func (r *Recorder) service(name string) *service {
	s := r.services[name]
	if s == nil {
		s = &service{used: map[string]time.Time{}}
		r.services[name] = s
	}
	return s
}

func (r *Recorder) note(s *service, keyID string, at time.Time) {
	earlier, known := s.used[keyID]
	switch {
	case known && !at.After(earlier):
		return
	case !known && (len(s.used) >= maxKeys || r.keys >= maxAllKeys):
		r.dropped.Add(1)
		return
	case !known:
		r.keys++
	}
	s.used[keyID] = at
}

// run writes now and then.
func (r *Recorder) run(ctx context.Context) {
	ticker := time.NewTicker(writeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.flush(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// flush writes what was gathered. What the database doesn't take is forgotten: it would be old news.
func (r *Recorder) flush(ctx context.Context) {
	for some := range slices.Chunk(r.gathered(), store.MaxKeyUses) {
		bounded, cancel := context.WithTimeout(ctx, writeTimeout)
		written, err := r.write(bounded, some)
		cancel()
		if err != nil {
			r.failed.Add(uint64(len(some)))
			r.log.WarnContext(ctx, "last uses of API keys weren't written", "keys", len(some), "error", err)
			return
		}
		r.written.Add(uint64(written))
	}
}

// gathered takes what was told, the newest use of each key, in the order of ids.
func (r *Recorder) gathered() []store.KeyUse {
	now := r.now()
	r.mu.Lock()
	services := r.services
	r.services, r.keys = map[string]*service{}, 0
	r.mu.Unlock()
	newest := map[string]store.KeyUse{}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		for id, at := range services[name].used {
			if known, ok := newest[id]; !ok || now.Sub(at) < known.Ago {
				newest[id] = store.KeyUse{KeyID: id, Service: name, Ago: now.Sub(at)}
			}
		}
	}
	return slices.SortedFunc(maps.Values(newest), func(a, b store.KeyUse) int { return cmp.Compare(a.KeyID, b.KeyID) })
}

// Stats returns the counters.
func (r *Recorder) Stats() Stats {
	return Stats{Messages: r.messages.Load(), Dropped: r.dropped.Load(), Written: r.written.Load(), Failed: r.failed.Load()}
}

// Close writes what was gathered, as far as ctx lets it.
func (r *Recorder) Close(ctx context.Context) error {
	r.end()
	r.writer.Wait()
	r.flush(ctx)
	return nil
}
