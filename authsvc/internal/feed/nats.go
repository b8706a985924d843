package feed

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	// ackTimeout is how long a PubAck may take; electing a stream leader can take that long.
	ackTimeout = 5 * time.Second
	// streamBytes bounds the stream; what it can't give, verifiers take from snapshots.
	streamBytes = 512 << 20
	// DefaultMaxAge is how long the stream keeps messages.
	DefaultMaxAge = 48 * time.Hour
)

// natsBus is the [Bus] over two NATS connections, whose rights differ.
type natsBus struct {
	feed, reply *nats.Conn
	js          jetstream.JetStream
	config      jetstream.StreamConfig
	verify      func() events.KeySet
	log         *slog.Logger
	refusal     string // of a look at the stream: why its configuration can't be changed, as it was logged
	up          func() bool
	answering   func() error // nil, or why this process must not be the dispatcher

	mu      sync.Mutex
	pending map[*nats.Msg]func(uint64, error)
}

func newNATSBus(cfg Config) (*natsBus, error) {
	b := &natsBus{feed: cfg.Feed, reply: cfg.Reply, verify: cfg.Keys, up: cfg.FeedUp, log: cfg.Log, pending: map[*nats.Msg]func(uint64, error){}}
	b.config = jetstream.StreamConfig{
		Name:        events.StreamName,
		Description: "The feed, for verifiers that catch up. authsvc rebuilds it from its database.",
		Subjects:    []string{events.StreamSubjects},
		Storage:     jetstream.FileStorage,
		Replicas:    max(cfg.Replicas, 1),
		MaxAge:      cfg.MaxAge,
		MaxBytes:    streamBytes,
		AllowDirect: true,
		DenyDelete:  true,
		DenyPurge:   true,
	}
	if b.config.MaxAge == 0 {
		b.config.MaxAge = DefaultMaxAge
	}
	var err error
	b.js, err = jetstream.New(cfg.Feed,
		jetstream.WithPublishAsyncTimeout(ackTimeout),
		jetstream.WithPublishAsyncMaxPending(2*streamWindow),
		jetstream.WithPublishAsyncAckHandler(func(_ jetstream.JetStream, m *nats.Msg, ack *jetstream.PubAck) {
			b.settle(m, ack.Sequence, nil)
		}),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) { b.settle(m, 0, err) }),
	)
	return b, err
}

func (m Message) on(subject string) *nats.Msg {
	return &nats.Msg{Subject: subject, Data: m.Body, Header: nats.Header{
		events.HeaderKey: {m.Key}, events.HeaderSignature: {m.Signature},
	}}
}

// Live implements [Bus].
func (b *natsBus) Live(t events.Type, m Message) error {
	return b.feed.PublishMsg(m.on(events.LiveSubject(t)))
}

// Flush implements [Bus].
func (b *natsBus) Flush(ctx context.Context) error {
	if !b.up() {
		return nats.ErrDisconnected
	}
	if err := b.answering(); err != nil {
		return err
	}
	return b.feed.FlushWithContext(ctx)
}

// Store implements [Bus]. No message id goes with it: deduplication makes holes.
func (b *natsBus) Store(t events.Type, m Message, done func(uint64, error)) {
	msg := m.on(events.FeedSubject(t))
	b.mu.Lock()
	b.pending[msg] = done
	b.mu.Unlock()
	_, err := b.js.PublishMsgAsync(msg, jetstream.WithExpectStream(events.StreamName),
		jetstream.WithRetryAttempts(0), jetstream.WithStallWait(time.Millisecond))
	if err != nil {
		b.settle(msg, 0, err)
	}
}

// settle is called under locks of the library.
func (b *natsBus) settle(m *nats.Msg, seq uint64, err error) {
	b.mu.Lock()
	done := b.pending[m]
	delete(b.pending, m)
	b.mu.Unlock()
	if done != nil {
		done(seq, err)
	}
}

// Answer implements [Bus].
func (b *natsBus) Answer(r Request, m Message) error {
	msg, ok := r.Reply.(*nats.Msg)
	if !ok || msg.Reply == "" {
		return errors.New("proof request without a reply subject")
	}
	return b.reply.PublishMsg(m.on(msg.Reply))
}

// inspect tells how the stream is, and makes it when there is none; mend, when it isn't what it should be, makes it that. One
// looks at a time.
func (b *natsBus) inspect(ctx context.Context, tail, mend bool) (StreamState, error) {
	stream, err := b.js.Stream(ctx, events.StreamName)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = b.js.CreateStream(ctx, b.config)
	}
	if err != nil {
		return StreamState{}, fmt.Errorf("stream %s: %w", events.StreamName, err)
	}
	info := stream.CachedInfo()
	state := StreamState{Created: info.Created, LastSeq: info.State.LastSeq, Empty: info.State.Msgs == 0, Frozen: withoutQuorum(info.Cluster)}
	if mend {
		state.Changed = b.configure(ctx, info.Config)
	} else {
		b.compare(info.Config)
	}
	if !tail || info.State.Msgs == 0 {
		return state, nil
	}
	last, err := stream.GetMsg(ctx, info.State.LastSeq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return state, nil
	}
	if err != nil {
		return StreamState{}, fmt.Errorf("stream %s: last message: %w", events.StreamName, err)
	}
	kid := last.Header.Get(events.HeaderKey)
	if state.Tail = b.authenticBatch(kid, last.Header.Get(events.HeaderSignature), last.Data); state.Tail == nil {
		state.TailKey = askable(kid)
	}
	return state, nil
}

// askable returns a kid that a database can be asked about, whoever wrote it: a thumbprint in base64url, or "". What names no such key
// was never one of our messages.
func askable(kid string) string {
	if raw, err := base64.RawURLEncoding.DecodeString(kid); err != nil || len(raw) != sha256.Size {
		return ""
	}
	return kid
}

// withoutQuorum reports whether so few nodes of the stream are there that it can take nothing.
func withoutQuorum(c *jetstream.ClusterInfo) bool {
	if c == nil || len(c.Replicas) == 0 {
		return false
	}
	there := 1
	for _, peer := range c.Replicas {
		if !peer.Offline {
			there++
		}
	}
	return c.Leader == "" || there <= (1+len(c.Replicas))/2
}

// authenticBatch decodes a feed message that one of our feed keys signed, or returns nil.
func (b *natsBus) authenticBatch(kid, signature string, body []byte) *events.Batch {
	if b.verify().Verify(events.KindFeed, kid, signature, body) != nil {
		return nil
	}
	batch, err := events.DecodeBatch(body)
	if err != nil {
		return nil
	}
	return &batch
}

// nudge is what replicas tell each other; only authsvc may publish it.
type nudge struct {
	From string `json:"from"`
	// Ack asks the dispatcher to let the next events ask for proofs.
	Ack bool `json:"ack,omitempty"`
	// Free says that the lease was given back.
	Free bool `json:"free,omitempty"`
	// Epoch and Published are how far the feed is published.
	Epoch     string `json:"epoch,omitempty"`
	Published uint64 `json:"published,omitempty"`
	// Roll asks which instances the dispatcher counts, or answers that.
	Roll *roll `json:"roll,omitempty"`
}

// maxNudge bounds what is looked at.
const maxNudge = 1024

func decodeNudge(body []byte) (n nudge, err error) {
	if len(body) > maxNudge {
		return n, fmt.Errorf("nudge of %d bytes", len(body))
	}
	if err := json.Unmarshal(body, &n); err != nil {
		return n, err
	}
	if n.Published > 0 {
		_, err = events.ParseID(n.Epoch)
	}
	return n, err
}

func (b *natsBus) nudge(n nudge) error {
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return b.feed.Publish(events.SubjectNudge, body)
}
