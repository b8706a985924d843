package link

import (
	"context"
	"crypto"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/clock"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/follower"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/revset"
)

var (
	// ErrConfig is wrapped by every error of [Start].
	ErrConfig = errors.New("bad configuration")
	// ErrUnavailable means that no valid answer came: no connection, no responder, time-out, busy, bad signature.
	// Nothing may be concluded from it; the caller MUST refuse.
	ErrUnavailable = errors.New("auth unavailable")
)

// Config is what a link needs; fields without "default" are required.
type Config struct {
	Issuer, Service, Instance string
	// URL is a NATS URL list.
	URL string
	// Credentials is a file with an NKey seed (.nk) or a .creds file; default none.
	Credentials string
	// NATSOptions are applied last; default none.
	NATSOptions []nats.Option
	// FeedKeysFile pins the feed keys; default: fetched from the issuer.
	FeedKeysFile string
	// HTTPClient fetches the feed keys; default one with short time-outs. Redirects are never followed.
	HTTPClient *http.Client
	// Smallest and Largest staleness bound of any route; see [Link.SetBounds].
	Smallest, Largest time.Duration
	Clock             clock.Clock
	Set               *revset.Set
	// Skipped MUST empty the caches of resolved API keys before it returns.
	Skipped func()
	// Changed, if given, is called after the set, the keys or freshness changed. It MUST NOT block.
	Changed func()
	Log     *slog.Logger
}

// TokenKey is one public key that may have signed an access token.
type TokenKey struct {
	Alg string // the only algorithm it is valid for: EdDSA, ES256 or RS256
	Key crypto.PublicKey
}

// TokenKeys is the token key set. It is never changed.
type TokenKeys struct {
	ByKID map[string]TokenKey
	Hash  events.Hash
}

// Link joins the verifier to authsvc over NATS. All methods are safe for concurrent use.
type Link struct{}

// Start checks the configuration and returns at once; NATS and authsvc may be away. Close it.
func Start(cfg Config) (*Link, error) { return &Link{}, nil }

// Close ends all goroutines and the connection, and waits for them.
func (l *Link) Close() error { return nil }

// Fresh returns the last accepted proof, nil before the first.
func (l *Link) Fresh() *follower.Freshness { return nil }

// Keys returns the token key set, never nil.
func (l *Link) Keys() *TokenKeys { return &TokenKeys{} }

// RefreshKeys fetches the token key set because a token named an unknown kid. Calls share one fetch, and there is a
// cool-down: then it returns nil at once. The caller looks into Keys again.
func (l *Link) RefreshKeys(ctx context.Context) error { return nil }

// Request asks a question of one kind and returns the answer's bytes, the signature verified.
// The caller MUST check nonce and request hash. All errors wrap [ErrUnavailable].
func (l *Link) Request(ctx context.Context, kind events.Kind, subject string, body []byte) ([]byte, error) {
	return nil, ErrUnavailable
}

// SetBounds tells the smallest and largest staleness bound of all routes.
func (l *Link) SetBounds(smallest, largest time.Duration) {}

// Ready returns nil when a proof not older than bound is held, else what is missing.
func (l *Link) Ready(bound time.Duration) error { return nil }

// Stats is a snapshot for people and metrics.
type Stats struct {
	follower.Stats
	Connected     bool
	FeedKeys      int
	TokenKeys     int
	Reconnects    uint64
	BadMessages   uint64            // undecodable, or not signed by a feed key
	SlowConsumer  uint64            // times that NATS dropped messages for us
	CatchUps      map[string]uint64 // by source: stream, snapshot
	CatchUpErrors uint64
	ProofAge      time.Duration // since the last accepted question was asked; 0 before the first
}

// Stats returns a snapshot.
func (l *Link) Stats() Stats { return Stats{} }
