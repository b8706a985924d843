package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

const (
	// lookEvery is how late a new car may be told, and how late a change of a job.
	lookEvery = 100 * time.Millisecond
	// overlap is how long ago a car may have got its id and still be unknown: its transaction, or another replica's
	// clock, was late.
	overlap = 10 * time.Second
	// keepAlive is how often a stream says something, so that nobody on the way takes it for dead.
	keepAlive = 15 * time.Second
	// backlog is how many cars a stream may be behind before it is ended.
	backlog = 64
)

// showroom tells all streams of the cars that are added, by whichever replica. It looks into the database once for all
// of them, and not at all while there are none. Safe for concurrent use.
type showroom struct {
	store *store
	log   *slog.Logger

	mu      sync.Mutex
	streams map[chan car]struct{}
	seen    map[string]bool // the ids since looked - overlap
	looked  time.Time       // when the last look that succeeded began
}

func newShowroom(s *store, log *slog.Logger) *showroom {
	return &showroom{store: s, log: log, streams: map[chan car]struct{}{}}
}

// join returns a channel with each car that is added from now on; it is closed for a stream that is too far behind.
func (s *showroom) join(ctx context.Context) (cars chan car, leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.streams) == 0 { // what is there already isn't new
		s.seen, s.looked = map[string]bool{}, s.store.now()
		if _, err := s.look(ctx); err != nil {
			return nil, nil, err
		}
	}
	cars = make(chan car, backlog)
	s.streams[cars] = struct{}{}
	return cars, func() { s.leave(cars) }, nil
}

func (s *showroom) leave(cars chan car) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, cars)
}

// run tells until ctx ends.
func (s *showroom) run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.tell(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (s *showroom) tell(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.streams) == 0 {
		return
	}
	added, err := s.look(ctx)
	if err != nil {
		s.log.WarnContext(ctx, "new cars are told later", "err", err)
		return
	}
	for _, c := range added {
		for stream := range s.streams {
			select {
			case stream <- c:
			default:
				delete(s.streams, stream)
				close(stream)
			}
		}
	}
}

// look returns the cars that weren't seen before. Ids begin with the time, but rows don't appear in their order: so it
// reads again what is as young as that.
func (s *showroom) look(ctx context.Context) (added []car, err error) {
	now, since := s.store.now(), firstID(s.looked.Add(-overlap))
	seen := make(map[string]bool, len(s.seen))
	for after := since; ; {
		page, err := s.store.listCars(ctx, after, maxLimit)
		if err != nil {
			return nil, err
		}
		for _, c := range page {
			if seen[c.ID] = true; !s.seen[c.ID] {
				added = append(added, c)
			}
		}
		if len(page) < maxLimit {
			s.seen, s.looked = seen, now
			return added, nil
		}
		after = page[len(page)-1].ID
	}
}

// firstID is less than every id that was made at t or later.
func firstID(t time.Time) string {
	hex := fmt.Sprintf("%012x", max(t.UnixMilli(), 0))
	return hex[:8] + "-" + hex[8:] + "-7000-8000-000000000000"
}

// carEvents is a stream of server-sent events. The route's guard ends it with its credential; see [api.routes].
func (a *api) carEvents(w http.ResponseWriter, r *http.Request) error {
	cars, leave, err := a.showroom.join(r.Context())
	if err != nil {
		return err
	}
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	ticker := time.NewTicker(keepAlive)
	defer ticker.Stop()
	for message := ": from now on\n\n"; ; {
		if err := send(w, message); err != nil {
			return errEnded
		}
		select {
		case c, ok := <-cars:
			if !ok {
				return errEnded // the client comes back, and reads the list first
			}
			if message, err = carEvent(c); err != nil {
				return err
			}
		case <-ticker.C:
			message = ": still here\n\n"
		case <-r.Context().Done():
			return errEnded
		case <-a.stopping:
			return errEnded
		}
	}
}

func carEvent(c car) (string, error) {
	data, err := json.Marshal(c)
	return fmt.Sprintf("event: car\nid: %s\ndata: %s\n\n", c.ID, data), err
}

// send sends one message of a stream at once, and gives the client time to read it.
func send(w http.ResponseWriter, message string) error {
	outlast(w, 0)
	if _, err := w.Write([]byte(message)); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}
