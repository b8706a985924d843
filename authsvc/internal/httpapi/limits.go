package httpapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

// Limit allows Times calls at once, and as many again in each Per, evenly. The zero Limit allows all.
type Limit struct {
	Times int
	Per   time.Duration
}

// Limits bound what strangers may try, each process for itself. "Of one network" means of one IPv4 address or one IPv6 /64;
// those of one IPv6 /48 have 16 times as much together.
type Limits struct {
	Logins        Limit // of one network that fail or are under way
	Registrations Limit // of one network
	// Credentials are refresh tokens and clients' keys that aren't good, of one network. Good ones are never refused.
	Credentials Limit
	// AccountTries are how many failed logins of one account in a row cost nothing; after each further one there is a wait, twice as
	// long each time, up to an hour. 0: there never is.
	AccountTries int
}

// How many callers are remembered.
const (
	limitedNetworks = 1 << 14
	limitedAccounts = 1 << 16
)

// networksOfBlock is how many times the budget of a network all those of one IPv6 /48 have together: a /48 has 65,536 of them.
const networksOfBlock = 16

// limiter counts the calls of networks and of the blocks they are in, under a name for operators; without throttles it allows all.
type limiter struct {
	name             string
	networks, blocks *throttle
}

func newLimiter(name string, l Limit) limiter {
	if l.Times == 0 {
		return limiter{name: name}
	}
	interval := l.Per / time.Duration(l.Times)
	return limiter{name, newThrottle(interval, l.Times, limitedNetworks), newThrottle(interval/networksOfBlock, l.Times*networksOfBlock, limitedNetworks)}
}

// take counts a call, unless it is one too many of the network or of its block.
func (l limiter) take(ip string, now time.Time) refused {
	if l.networks == nil {
		return refused{}
	}
	r, block := l.networks.take(networkOf(ip), now), blockOf(ip)
	if r.wait > 0 || block == "" {
		return r
	}
	if r = l.blocks.take(block, now); r.wait > 0 {
		l.networks.giveBack(networkOf(ip))
	}
	return r
}

// giveBack undoes a take of a call that turned out not to count.
func (l limiter) giveBack(ip string) {
	if l.networks != nil {
		l.networks.giveBack(networkOf(ip))
		l.blocks.giveBack(blockOf(ip))
	}
}

// limits are the state of [Limits].
type limits struct {
	logins, registrations, credentials limiter

	accounts *tries // nil: no limit
}

const limitAccounts = "account"

func newLimits(l Limits) limits {
	out := limits{logins: newLimiter("login", l.Logins), registrations: newLimiter("register", l.Registrations), credentials: newLimiter("credential", l.Credentials)}
	if l.AccountTries > 0 {
		out.accounts = newTries(l.AccountTries, limitedAccounts)
	}
	return out
}

// limitNames are all that can refuse a call.
func (l limits) names() []string {
	return []string{l.logins.name, l.registrations.name, l.credentials.name, limitAccounts}
}

// tooSoon is [auth.ErrThrottled] with the time after which it pays to come again.
type tooSoon struct{ wait time.Duration }

func (e tooSoon) Error() string { return auth.ErrThrottled.Error() }
func (e tooSoon) Unwrap() error { return auth.ErrThrottled }

// seconds rounds up: who comes at the time that it was told isn't refused again.
func (e tooSoon) seconds() int64 { return int64((e.wait + time.Second - 1) / time.Second) }

// refuseBy counts a refusal, if it is one, and logs the first of an episode. What was tried isn't logged: people type passwords
// into the field for the name.
func (s *Server) refuseBy(ctx context.Context, limit string, r refused) error {
	if r.wait == 0 {
		return nil
	}
	s.metrics.throttled.WithLabelValues(limit).Inc()
	if r.begins {
		s.log.WarnContext(ctx, "too many attempts; refusing more until they slow down", "limit", limit, "ip", clientFrom(ctx).IP)
	}
	return tooSoon{r.wait}
}

// bound counts a call of the client's network.
func (s *Server) bound(ctx context.Context, l limiter) error {
	return s.refuseBy(ctx, l.name, l.take(clientFrom(ctx).IP, s.now()))
}

// afterFailure makes the refusal of a credential that can't be guessed a request to slow down, when the client's network has shown
// too many. Good ones never come here: one client that has gone mad must not log out an office.
func (s *Server) afterFailure(ctx context.Context, err error) error {
	var oauth *oauthError
	if errors.Is(err, auth.ErrInvalidRefreshToken) || errors.Is(err, auth.ErrUnauthenticated) || errors.As(err, &oauth) && oauth.status == http.StatusUnauthorized {
		if slow := s.bound(ctx, s.limits.credentials); slow != nil {
			return slow
		}
	}
	return err
}

// guess makes a call that verifies a password, unless the network or the account has failed too often. Both are counted before:
// so this bounds as well how many passwords are verified at once for one network.
func (s *Server) guess(ctx context.Context, username string, verify func() error) error {
	if err := s.bound(ctx, s.limits.logins); err != nil {
		return err
	}
	err := s.tryAccount(ctx, accountKey(username), func(ctx context.Context) (bool, error) { return s.signedInFrom(ctx, username) }, verify)
	if !isFailedGuess(err) {
		s.limits.logins.giveBack(clientFrom(ctx).IP)
	}
	return err
}

// isFailedGuess reports whether an attempt counts as one.
func isFailedGuess(err error) bool {
	var soon tooSoon
	return errors.Is(err, auth.ErrInvalidCredentials) || errors.As(err, &soon)
}

// tryAccount counts the failures in a row of an account, known or unknown alike. Where it has failed too often, a network from
// which it was signed in lately has a row of its own, so that strangers can't lock its owner out.
func (s *Server) tryAccount(ctx context.Context, key string, known func(context.Context) (bool, error), verify func() error) error {
	accounts := s.limits.accounts
	if accounts == nil {
		return verify()
	}
	r := accounts.take(key, s.now())
	if r.wait > 0 && known != nil {
		switch ok, err := known(ctx); {
		case err != nil:
			return err
		case ok:
			key += networkOf(clientFrom(ctx).IP)
			r = accounts.take(key, s.now())
		}
	}
	if err := s.refuseBy(ctx, limitAccounts, r); err != nil {
		return err
	}
	err := errNotEnded
	defer func() { s.endTry(key, err) }()
	err = verify()
	return err
}

// errNotEnded is the outcome of a try whose handler panicked.
var errNotEnded = errors.New("the try didn't end")

func (s *Server) endTry(key string, err error) {
	switch {
	case err == nil:
		s.limits.accounts.succeeded(key)
	case errors.Is(err, auth.ErrInvalidCredentials):
		s.limits.accounts.failed(key, s.now())
	default:
		s.limits.accounts.giveBack(key)
	}
}

// accountKey is short whatever was typed, and can't be read back.
func accountKey(username string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(username)))
	return string(sum[:16])
}

func (s *Server) signedInFrom(ctx context.Context, username string) (bool, error) {
	here := networkOf(clientFrom(ctx).IP)
	if here == "" {
		return false, nil
	}
	return s.auth.SignedInFrom(ctx, username, func(ip string) bool { return networkOf(ip) == here })
}
