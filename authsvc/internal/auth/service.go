package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/keyring"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// Change tells what a call that ends or narrows trust has done, for its receipt.
type Change struct {
	// EventIDs are the events that were committed with the change. Empty: nothing changed.
	EventIDs []string
	// Earlier is the live event that already said the same, when nothing changed and there is one.
	Earlier []string
}

// Changed reports whether the call changed anything that verifiers must know.
func (c Change) Changed() bool { return len(c.EventIDs) > 0 }

// TokenKey is a key of the token key set, with the one algorithm that it is for. Private is needed for signing only.
type TokenKey = keyring.Key

// KeyRing is what the domain needs of [keyring.Ring]. All of it answers as of the transaction: keys that another
// replica added or removed before it are there or gone.
type KeyRing interface {
	// TokenSigner returns the key that signs access tokens now.
	TokenSigner(ctx context.Context, tx *store.Tx) (TokenKey, error)
	// TokenKey finds a key in the current set; false for unknown and retired kids.
	TokenKey(ctx context.Context, tx *store.Tx, kid string) (TokenKey, bool, error)
	// KnownTokenKey finds a key that was in the set when the ring last looked, without looking.
	KnownTokenKey(kid string) (TokenKey, bool)
	// Refresh looks.
	Refresh(ctx context.Context) error
	// RefreshSecret is what successors of refresh tokens are derived under.
	RefreshSecret() []byte
	// NewKey makes a token key, which may take seconds. It MUST NOT be called in a transaction.
	NewKey() (keyring.NewKey, error)
	// Rotate puts a new key into the set, announces it in the same transaction, and returns kid and event ids.
	Rotate(ctx context.Context, tx *store.Tx, key keyring.NewKey, emergency bool) (kid string, eventIDs []string, err error)
	// NewFeedKey makes a feed key.
	NewFeedKey() (keyring.NewFeedKey, error)
	// RotateFeed publishes a feed key and returns when it begins to sign; [keyring.ErrFeedKeyWaits] when another waits.
	RotateFeed(ctx context.Context, tx *store.Tx, key keyring.NewFeedKey, ahead time.Duration, emergency bool) (signsAt int64, err error)
}

var _ KeyRing = (*keyring.Ring)(nil)

// Reads answers questions about credentials by a read of the primary that begins after the call did, which may be shared. None
// of the askers keeps the others waiting.
type Reads interface {
	Ask(ctx context.Context, asker string, question store.Question) (store.State, error)
}

// Config is what a [Service] needs.
type Config struct {
	DB       *store.DB
	Reads    Reads
	Ring     KeyRing
	Issuer   string
	Audience string
	// AccessTTL is the life of access tokens; RefreshTTL and RefreshIdle are a session's absolute and idle limits.
	AccessTTL   time.Duration
	RefreshTTL  time.Duration
	RefreshIdle time.Duration
	// PasswordMin is the least number of code points of a new password; at least 8.
	PasswordMin int
	// AuditRetention is how long entries of the audit log stay at least; 0: for ever. Otherwise at least [MinAuditRetention].
	AuditRetention time.Duration
	// Bus is asked by AddService and RemoveService.
	Bus ServiceBus
	// Used is called with the id of each API key that was accepted here. It MUST NOT block.
	Used func(keyID string)
	// Nudge is called after each commit that wrote an event. It MUST NOT block.
	Nudge func()
	Log   *slog.Logger
}

// Service is the domain. It is safe for concurrent use and owns no goroutine.
type Service struct {
	cfg      Config
	db       *store.DB
	ring     KeyRing
	hasher   *hasher
	verified *verifiedTokens
	log      *slog.Logger
	// syncing is held from reading who belongs to the bus to telling it.
	syncing sync.Mutex
}

// New checks the configuration and returns the domain. It writes nothing.
func New(cfg Config) (*Service, error) {
	switch {
	case cfg.DB == nil || cfg.Reads == nil || cfg.Ring == nil || cfg.Nudge == nil || cfg.Used == nil || cfg.Log == nil:
		return nil, errors.New("auth: DB, Reads, Ring, Nudge, Used and Log are required")
	case cfg.Issuer == "" || cfg.Audience == "":
		return nil, errors.New("auth: issuer and audience are required")
	case cfg.AccessTTL < time.Second || cfg.RefreshTTL < time.Second || cfg.RefreshIdle < time.Second:
		return nil, errors.New("auth: the lives of tokens must be at least 1s")
	case cfg.PasswordMin < 8:
		return nil, errors.New("auth: the shortest password must have at least 8 characters")
	}
	return &Service{cfg: cfg, db: cfg.DB, ring: cfg.Ring, hasher: newHasher(hashParams()), verified: newVerifiedTokens(rememberedTokens), log: cfg.Log}, nil
}

// view runs a read-only transaction.
func (s *Service) view(ctx context.Context, fn func(tx *store.Tx) error) error {
	return refusal(s.db.View(ctx, fn))
}

// change runs a transaction in which by does something, and nudges the dispatcher when it wrote events. fn may run more
// than once.
func (s *Service) change(ctx context.Context, by Caller, fn func(w *work) error) (Change, error) {
	return s.changeIn(ctx, s.db.Update, by, fn)
}

// changeBriefly is change for what ends one credential, see [store.DB.UpdateBriefly].
func (s *Service) changeBriefly(ctx context.Context, by Caller, fn func(w *work) error) (Change, error) {
	return s.changeIn(ctx, s.db.UpdateBriefly, by, fn)
}

// update is a method of [store.DB].
type update func(context.Context, func(*store.Tx) error) error

func (s *Service) changeIn(ctx context.Context, run update, by Caller, fn func(w *work) error) (Change, error) {
	var done Change
	err := run(ctx, func(tx *store.Tx) error {
		w := &work{Tx: tx, by: by, ring: s.ring}
		err := fn(w)
		done = w.done
		if err == nil && !done.Changed() { // the caller is told that it is so: then it must not get lost any more
			err = tx.Settle(ctx)
		}
		return err
	})
	return s.finish(done, err)
}

// issue is change for transactions that create credentials; access tokens in them live at most life.
func (s *Service) issue(ctx context.Context, by Caller, life time.Duration, fn func(w *work, a store.Authority) error) (Change, error) {
	var done Change
	turn := ""
	if by.KeyID != "" { // the client of the token endpoint: what rests on it locks it
		turn = by.UserID
	}
	err := s.db.IssueInTurn(ctx, turn, life, func(tx *store.Tx, a store.Authority) error {
		w := &work{Tx: tx, by: by, ring: s.ring}
		err := fn(w, a)
		done = w.done
		return err
	})
	return s.finish(done, err)
}

func (s *Service) finish(done Change, err error) (Change, error) {
	if err != nil {
		return Change{}, refusal(err)
	}
	if done.Changed() {
		s.cfg.Nudge()
	}
	return done, nil
}

// refusal turns the store's errors into the domain's; what neither knows stays as it is.
func refusal(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return ErrNotFound
	case errors.Is(err, store.ErrUnavailable):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}
