package auth

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// errNotImplemented marks what is still to be built.
var errNotImplemented = errors.New("not implemented")

// Change tells what a call that ends or narrows trust has done, for its receipt.
type Change struct {
	// EventIDs are the events that were committed with the change. Empty: nothing changed.
	EventIDs []string
	// Earlier is the live event that already said the same, when nothing changed and there is one.
	Earlier []string
}

// Changed reports whether the call changed anything that verifiers must know.
func (c Change) Changed() bool { return len(c.EventIDs) > 0 }

// ServiceBus lets resource services join and leave the message bus.
type ServiceBus interface {
	// AddService makes credentials for a service with a valid name and lets it in.
	AddService(ctx context.Context, name string) (BusCredentials, error)
	// RemoveService shuts a service out. Unknown names are not an error.
	RemoveService(ctx context.Context, name string) error
}

// BusCredentials are what a service joins the bus with.
type BusCredentials struct {
	Seed      string // NKey seed, secret, never stored by the domain
	PublicKey string
	Config    string // server configuration for an external NATS, or a note that nothing is to be done
}

// Config is what a [Service] needs.
type Config struct {
	Issuer   string
	Audience string
	// AccessTTL is the life of access tokens; RefreshTTL and RefreshIdle are a session's absolute and idle limits.
	AccessTTL   time.Duration
	RefreshTTL  time.Duration
	RefreshIdle time.Duration
	// PasswordMin is the least number of code points of a new password; at least 8.
	PasswordMin int
	// Bus is asked by AddService and RemoveService.
	Bus ServiceBus
	// Nudge is called after each commit that wrote an event. It MUST NOT block.
	Nudge func()
	Log   *slog.Logger
}

// Service is the domain. It is safe for concurrent use and owns no goroutine.
type Service struct {
	cfg Config
}

// New checks the configuration and returns the domain. It writes nothing.
func New(cfg Config) (*Service, error) { return &Service{cfg: cfg}, nil }

// BootstrapRequest describes the first admin.
type BootstrapRequest struct {
	Username string
	// Password may be empty: then a random one is made and given to Keep.
	Password string
	// Keep stores a random password before the user is committed; its error stops the bootstrap. It isn't called
	// for a given password, nor when an admin exists already.
	Keep func(password string) error
}

// Bootstrap creates the first admin when no user has the role admin, and reports whether it did.
func (s *Service) Bootstrap(ctx context.Context, r BootstrapRequest) (bool, error) {
	return false, errNotImplemented
}
