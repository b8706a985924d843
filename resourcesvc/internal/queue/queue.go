// Package queue is the work queue between the service and its workers: a JetStream stream in the service's own account.
//
// A message says that there is something to do, and nothing else: whose job it is and which. It holds no payload and no secret, and
// whoever could forge one would make a worker ask the service for a job that isn't there. The service's database is the truth,
// so that the stream may be lost, and a message come twice.
package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// Stream and Consumer are the only ones that a service's account may have.
	Stream   = "JOBS"
	Consumer = "workers"
	subjects = "jobs.>"
)

// Message names a job.
type Message struct {
	UserID string `json:"user_id"`
	JobID  string `json:"job_id"`
}

const (
	maxMessage = 2 << 10
	maxText    = 256 // code points
)

// ErrMessage means that a message names no job.
var ErrMessage = errors.New("not a message of the job queue")

// Decode reads a message. What it names need not exist.
func Decode(body []byte) (Message, error) {
	var m Message
	if len(body) > maxMessage || json.Unmarshal(body, &m) != nil || !isText(m.UserID) || !isText(m.JobID) {
		return Message{}, ErrMessage
	}
	return m, nil
}

func isText(s string) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxText
}

// subject is a job's own, so that the stream knows whether the job is in it. Job ids are any text: a digest stands for them.
func (m Message) subject() string {
	digest := sha256.Sum256([]byte(m.JobID))
	return "jobs." + m.UserID + "." + hex.EncodeToString(digest[:16])
}

// Options are how both sides connect.
type Options struct {
	URL, Creds string
	// Service is the user's name on the bus, which its inboxes begin with.
	Service string
	// Name is that of the connection, for people.
	Name string
	Log  *slog.Logger
}

// Connect returns a connection that is up or goes on trying. Errors are of the configuration only.
func Connect(o Options) (*nats.Conn, error) {
	creds, err := credentials(o.Creds)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(o.URL, creds,
		nats.Name(o.Name),
		nats.CustomInboxPrefix("_INBOX_"+o.Service),
		nats.Timeout(2*time.Second),
		nats.PingInterval(5*time.Second),
		nats.MaxPingsOutstanding(2),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250*time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond),
		nats.ReconnectBufSize(-1),   // the default would hide an outage
		nats.IgnoreAuthErrorAbort(), // credentials may come to the server later
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			o.Log.Warn("NATS reports an error", "err", err)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("nats-url: %w", err)
	}
	return nc, nil
}

func credentials(path string) (nats.Option, error) {
	switch {
	case path == "":
		return func(*nats.Options) error { return nil }, nil
	case !strings.HasSuffix(path, ".creds"):
		option, err := nats.NkeyOptionFromSeed(path)
		if err != nil {
			return nil, fmt.Errorf("nats-creds: %w", err)
		}
		return option, nil
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("nats-creds: %w", err)
	}
	return nats.UserCredentials(path), nil
}

// Close ends a connection and returns when its goroutines have gone, or a second later.
func Close(nc *nats.Conn) {
	closed := nc.StatusChanged(nats.CLOSED)
	nc.Close()
	select {
	case <-closed:
	case <-time.After(time.Second):
	}
}

// ackWait is how long a worker may take to claim the job that a message names: then another is asked. It isn't the time
// to do it.
const ackWait = 10 * time.Second

// Ensure makes the stream and its consumer what they have to be, and returns when the stream was made.
func Ensure(ctx context.Context, js jetstream.JetStream, replicas int) (made time.Time, err error) {
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: Stream, Subjects: []string{subjects}, Description: "jobs that wait for a worker; the database has the truth",
		Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage, Replicas: replicas,
		MaxBytes: 48 << 20, MaxMsgSize: maxMessage, Discard: jetstream.DiscardNew,
		// What nobody took for a day is a job that is over, or one whose grant is: open ones are offered again.
		MaxAge: 24 * time.Hour,
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("job queue: %w", err)
	}
	_, err = js.CreateOrUpdateConsumer(ctx, Stream, jetstream.ConsumerConfig{
		Durable: Consumer, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: 10_000,
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("job queue's consumer: %w", err)
	}
	return stream.CachedInfo().Created, nil
}

// Offer puts jobs on the queue and returns those that are there now. One that is there already isn't put there twice.
func Offer(ctx context.Context, js jetstream.JetStream, jobs []Message) (there []Message, err error) {
	acks := make([]jetstream.PubAckFuture, 0, len(jobs))
	for _, m := range jobs {
		body, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		ack, err := js.PublishAsync(m.subject(), body, jetstream.WithExpectStream(Stream), jetstream.WithExpectLastSequencePerSubject(0))
		if err != nil {
			break // those before it are on their way
		}
		acks = append(acks, ack)
	}
	for i, ack := range acks {
		select {
		case <-ack.Ok():
			there = append(there, jobs[i])
		case e := <-ack.Err():
			if isThere(e) {
				there = append(there, jobs[i])
			} else {
				err = e
			}
		case <-ctx.Done():
			return there, ctx.Err()
		}
	}
	if err == nil && len(acks) < len(jobs) {
		err = errors.New("the job queue is away")
	}
	return there, err
}

// isThere reports whether the stream refused a message because it has one on that subject; a replicated stream says it in
// another way.
func isThere(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) && (refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
