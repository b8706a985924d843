package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// ErrRefused means that the server's permissions keep a connection from what it is for: most likely it has the credentials
// of another.
var ErrRefused = fmt.Errorf("not what this connection needs (wrong credentials?): %w", nats.ErrPermissionViolation)

// needs are the subscriptions without which a replica isn't what it says it is. Others, which a configuration of an earlier
// release may lack, are only logged.
var needs = map[string][]string{
	userFeed: {events.SubjectNudge},
	userReply: {events.ProofSubject("*"), events.CheckSubject("*"), events.ResolveSubject("*"), events.KeysSubject("*"),
		events.SnapshotSubject("*")},
}

const (
	// mutedAfter is how many looks in a row must find every answer refused: answers that a pause has made late are refused, too.
	mutedAfter = 2
	// mutedFor is how long nothing is answered after that. Only an answer can show that answers are permitted again.
	mutedFor = 15 * time.Second
)

// rights is what a server refuses a connection, as far as it has said: it does so after the fact, and the client passes it on
// beside everything else, in order.
type rights struct {
	needs   []string
	answers bool // all that it sends
	log     *slog.Logger

	mu      sync.Mutex
	heard   error         // the last refusal that the client passed on
	changed chan struct{} // closed at the next
	// refused are subjects of subscriptions, by the connection (they are counted) on which they were refused last.
	refused    map[string]uint64
	connection uint64
	// Of answers: how many messages were refused, both counts at the last look, how many looks in a row found all refused.
	messages, sentBefore, refusedBefore uint64
	allRefused                          int
	mutedAt                             time.Time // zero: answers come through, as far as is known
	told                                bool      // that messages are refused
	away                                string    // why there is no connection, as it was logged; empty: there is one
}

func newRights(user string, log *slog.Logger) *rights {
	return &rights{needs: needs[user], answers: user == userReply, log: log, changed: make(chan struct{}), refused: map[string]uint64{}}
}

var refusedSubscription = regexp.MustCompile(`Subscription to "(\S+)"`)

// hear takes what the client passes on. It must not ask the client anything: it may hold its locks.
func (r *rights) hear(err error) {
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		r.cannotConnect(err)
		return
	default:
		r.log.Error("NATS reports an error", "error", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = err
	close(r.changed)
	r.changed = make(chan struct{})
	if m := refusedSubscription.FindStringSubmatch(err.Error()); m != nil {
		if _, known := r.refused[m[1]]; !known {
			r.log.Error("NATS refuses a subscription", "error", err)
		}
		r.refused[m[1]] = r.connection
		return
	}
	if r.messages++; !r.told {
		r.told = true
		r.log.Error("NATS refuses a message; more such are counted, not told", "error", err)
	}
}

// connected says that there is a new connection: what the last one was refused holds until this one was looked at.
func (r *rights) connected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connection++
	r.away = ""
	r.mutedAt, r.allRefused, r.told = time.Time{}, 0, false
}

// cannotConnect takes the cause of a try that failed, and logs it when it is another one than before.
func (r *rights) cannotConnect(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.away != err.Error() {
		r.away = err.Error()
		r.log.Warn("no connection to NATS; trying on", "error", err)
	}
}

// look waits until everything is known that the server had said before; last asks the client for its last error. sent counts
// the messages that it had been given by then.
func (r *rights) look(ctx context.Context, sent uint64, last func() error) error {
	for {
		changed, heard := r.latest()
		if err := last(); !errors.Is(err, nats.ErrPermissionViolation) || err == heard {
			r.judge(sent)
			return r.verdict()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// latest returns the last refusal that was heard of, and what is closed at the next.
func (r *rights) latest() (changed <-chan struct{}, heard error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed, r.heard
}

// judge forgets what an earlier connection was refused, and compares what was sent with what was refused of it.
func (r *rights) judge(sent uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.refused, func(_ string, on uint64) bool { return on < r.connection })
	newlySent, newlyRefused := sent-r.sentBefore, r.messages-r.refusedBefore
	if newlySent == 0 || !r.answers {
		return
	}
	r.sentBefore, r.refusedBefore = sent, r.messages
	if newlyRefused < newlySent {
		r.allRefused, r.mutedAt = 0, time.Time{}
		r.told = r.told && newlyRefused > 0
		return
	}
	if r.allRefused++; r.allRefused >= mutedAfter {
		r.mutedAt = time.Now()
	}
}

// verdict returns nil, or [ErrRefused] with what is refused.
func (r *rights) verdict() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var missing []string
	for _, subject := range r.needs {
		if _, is := r.refused[subject]; is {
			missing = append(missing, subject)
		}
	}
	switch {
	case len(missing) > 0:
		return fmt.Errorf("%w: to listen to %s", ErrRefused, strings.Join(missing, ", "))
	case r.muted():
		return fmt.Errorf("%w: to answer", ErrRefused)
	}
	return nil
}

func (r *rights) muted() bool { return !r.mutedAt.IsZero() && time.Since(r.mutedAt) < mutedFor }

// silenced returns nil, or [ErrRefused] when no answer to a question on this subject comes through.
func (r *rights) silenced(subject string) error {
	err := r.verdict()
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, deaf := r.refused[subject]; err != nil && (deaf || r.muted()) {
		return err
	}
	return nil
}
