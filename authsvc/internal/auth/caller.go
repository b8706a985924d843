package auth

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/liveness"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
)

// Client is where a request came from, as far as httpapi trusts it.
type Client struct {
	IP        string
	UserAgent string
}

// The ways in which a caller can have authenticated.
const (
	MethodBearer = "bearer"
	MethodAPIKey = "api_key"
)

// Caller is an authenticated user, as the database knew them when the credential was checked. It MUST come from
// AuthenticateBearer or AuthenticateKey of this request.
type Caller struct {
	Client
	UserID string
	// SessionID and TokenID are set for access tokens, KeyID for API keys.
	SessionID string
	TokenID   string
	KeyID     string
	Method    string
	// Roles are the user's, narrowed by the key's scopes.
	Roles    []string
	Mode     events.Mode
	AuthTime time.Time
	AMR      []string

	question store.Question // about the access token
}

// Has reports whether the caller has a role.
func (c Caller) Has(role string) bool { return slices.Contains(c.Roles, role) }

// The roles that mean something to authsvc itself.
const (
	RoleUser       = "user"
	RoleAdmin      = store.RoleAdmin
	RoleDirectory  = "directory"
	RoleIntrospect = "introspect"
	RoleDelegate   = "delegate"
	RoleQueue      = "queue"  // may mint job grants
	RoleWorker     = "worker" // may use them
)

// AuthenticateBearer checks an access token of ours against keys and database. Derived tokens, which have no session of their
// own, are for resource services: nobody manages anything with one. The error is [ErrUnauthenticated], or [ErrUnavailable].
func (s *Service) AuthenticateBearer(ctx context.Context, token string, from Client) (Caller, error) {
	found, err := s.findToken(ctx, liveness.Callers, token)
	if err == nil && (found.claims.Audience != s.cfg.Audience || found.claims.derived()) {
		err = errNotAlive
	}
	if err != nil {
		return Caller{}, unauthenticated(err)
	}
	c := found.claims
	return Caller{Client: from.cut(), UserID: c.Subject, SessionID: c.SessionID, TokenID: c.ID, Method: MethodBearer,
		Roles: found.user.Roles, Mode: c.Mode, AuthTime: time.Unix(c.AuthTime, 0).UTC(), AMR: c.AMR, question: found.question}, nil
}

// AuthenticateKey checks an API key against the database. The error is [ErrUnauthenticated], or [ErrUnavailable].
func (s *Service) AuthenticateKey(ctx context.Context, key string, from Client) (Caller, error) {
	k, u, err := s.findKey(ctx, liveness.Callers, key)
	if err != nil {
		return Caller{}, unauthenticated(err)
	}
	s.cfg.Used(k.ID)
	return Caller{Client: from.cut(), UserID: u.ID, KeyID: k.ID, Method: MethodAPIKey, Roles: narrowed(u.Roles, k.Scopes),
		Mode: events.Mode(k.Mode), AuthTime: fromMicros(k.CreatedAt), AMR: []string{}}, nil
}

// errNotAlive means that a credential is unknown, or known and dead. It never leaves the package.
var errNotAlive = errors.New("no living credential")

func unauthenticated(err error) error {
	if errors.Is(err, errNotAlive) {
		return ErrUnauthenticated
	}
	return err
}

// foundToken is a living access token with what the database holds of it.
type foundToken struct {
	claims   accessClaims
	question store.Question
	user     store.User // what decides, and the name
}

// roles are the user's at this moment, of which a derived token has only those that it was given.
func (f foundToken) roles() []string {
	if !f.claims.derived() {
		return f.user.Roles
	}
	return amongst(f.user.Roles, f.claims.Roles)
}

// expiryMargin is for calls that revoke: what expired here less long ago may live. The database's clock may be ahead by up to
// KeyRetention, and be set right; and a verifier has a leeway for exp and a clock of its own.
const expiryMargin = events.KeyRetention + time.Minute

// findToken verifies an access token and finds out, as one of the askers of liveness, that it lives now. The error is errNotAlive
// when it doesn't.
func (s *Service) findToken(ctx context.Context, asker, token string) (foundToken, error) {
	found, err := s.verifyToken(ctx, token)
	if err != nil {
		return foundToken{}, err
	}
	state, err := s.ask(ctx, asker, found.question)
	if err != nil {
		return foundToken{}, err
	}
	return found, found.lives(state)
}

// verifyToken is parse with the keys that are known, for tokens that weren't verified before. It says nothing of whether the
// key is in the set still: the question does.
func (s *Service) verifyToken(ctx context.Context, token string) (foundToken, error) {
	if found, ok := s.verified.get(token); ok {
		return found, nil
	}
	var fault error
	found, err := s.parse(token, func(kid string) (TokenKey, bool) {
		key, ok := s.ring.KnownTokenKey(kid)
		if !ok {
			fault = s.ring.Refresh(ctx)
			key, ok = s.ring.KnownTokenKey(kid)
		}
		return key, ok && fault == nil
	})
	if fault != nil {
		return foundToken{}, refusal(fault)
	}
	if err == nil && !found.claims.isJobGrant() { // those are used once, or a few times
		s.verified.put(token, found)
	}
	return found, err
}

// readSigned is verifyToken in a transaction.
func (s *Service) readSigned(ctx context.Context, tx *store.Tx, token string) (foundToken, error) {
	var fault error
	found, err := s.parse(token, func(kid string) (TokenKey, bool) {
		key, ok, err := s.ring.TokenKey(ctx, tx, kid)
		fault = err
		return key, ok && err == nil
	})
	if fault != nil {
		return foundToken{}, fault
	}
	return found, err
}

// parse verifies what a token says by itself. The error is errNotAlive.
func (s *Service) parse(token string, key func(kid string) (TokenKey, bool)) (foundToken, error) {
	var signer string
	claims, err := parseToken(token, func(kid string) (string, crypto.PublicKey, bool) {
		signer = kid
		key, ok := key(kid)
		return key.Alg, key.Public, ok
	})
	if err != nil || claims.Issuer != s.cfg.Issuer || !claims.askable() {
		return foundToken{}, errNotAlive
	}
	own := store.Credential{JTI: claims.ID, SessionID: claims.SessionID, Subject: claims.Subject, KeyID: claims.KeyID, TV: claims.TV}
	return foundToken{claims: claims, question: liveness.Question(signer, own, claims.Parents)}, nil
}

// lives takes in what the database knows of a token. The error is errNotAlive.
func (f *foundToken) lives(state store.State) error {
	if f.claims.Expires*1e6 <= state.Now || liveness.Token(state) != liveness.Alive {
		return errNotAlive
	}
	f.user = state.Credentials[0].User
	f.user.Roles = liveness.Roles(state)
	return nil
}

// ask reads with others what has been asked for.
func (s *Service) ask(ctx context.Context, asker string, question store.Question) (store.State, error) {
	state, err := s.cfg.Reads.Ask(ctx, asker, question)
	if errors.Is(err, liveness.ErrBusy) || errors.Is(err, liveness.ErrLate) {
		return state, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return state, refusal(err)
}

// madeBefore reports whether an id is older than a time in milliseconds. An id that doesn't tell is.
func madeBefore(id string, millis int64) bool {
	parsed, err := events.ParseID(id)
	return err != nil || !parsed.IsV7() || parsed.Millis() < millis
}

// findKey looks up a living API key by its secret, as one of the askers of liveness, with what decides about it. The error is
// errNotAlive when there is none.
func (s *Service) findKey(ctx context.Context, asker, key string) (store.APIKey, store.User, error) {
	question, err := keyQuestion(key)
	if err != nil {
		return store.APIKey{}, store.User{}, err
	}
	state, err := s.ask(ctx, asker, question)
	if err != nil {
		return store.APIKey{}, store.User{}, err
	}
	return livingKey(key, state)
}

func keyQuestion(key string) (store.Question, error) {
	if _, err := apikey.Parse(key); err != nil {
		return store.Question{}, errNotAlive
	}
	hash := events.HashOf([]byte(key))
	return store.Question{Credentials: []store.Credential{{KeyHash: &hash}}}, nil
}

func livingKey(key string, state store.State) (store.APIKey, store.User, error) {
	mode, err := apikey.Parse(key)
	found := state.Credentials[0]
	if err != nil || liveness.Key(state) != liveness.Alive || found.Key.Mode != string(mode) {
		return store.APIKey{}, store.User{}, errNotAlive
	}
	return found.Key, found.KeyUser, nil
}

// narrowed returns the roles that a key with scopes has; without scopes it has all.
func narrowed(roles, scopes []string) []string {
	if len(scopes) == 0 {
		return roles
	}
	return amongst(roles, scopes)
}

// amongst returns those of the roles that others hold, too.
func amongst(roles, others []string) []string {
	kept := []string{}
	for _, role := range roles {
		if slices.Contains(others, role) {
			kept = append(kept, role)
		}
	}
	return kept
}

// RequireAdmin returns [ErrForbidden] unless the caller is an admin with a live access token. Methods of Service that
// are for admins check it themselves; it is for the admin calls that other packages answer.
func (s *Service) RequireAdmin(c Caller) error {
	if c.Method != MethodBearer || c.Mode != events.ModeLive || !c.Has(RoleAdmin) {
		return ErrForbidden
	}
	return nil
}

// self returns what decides about the caller's user, read afresh, when the caller's access token still lives.
// The errors are [ErrForbidden] for API keys, and [ErrUnauthenticated].
func self(ctx context.Context, tx *store.Tx, c Caller) (store.User, error) {
	if c.Method != MethodBearer {
		return store.User{}, ErrForbidden
	}
	state, err := tx.Ask(ctx, c.question)
	switch {
	case err != nil:
		return store.User{}, err
	case liveness.Token(state) != liveness.Alive:
		return store.User{}, ErrUnauthenticated
	}
	return state.Credentials[0].User, nil
}

// lockSelf is self for transactions that issue a credential or widen trust: it locks the caller's token and the
// rows that it rests on, so that whatever ends the token comes before, and is seen here, or waits until the outcome can be seen.
// It returns all of the user.
func (w *work) lockSelf(ctx context.Context) (store.User, error) {
	if w.by.Method != MethodBearer {
		return store.User{}, ErrForbidden
	}
	user, err := w.LockUser(ctx, w.by.UserID)
	if err == nil {
		_, err = w.LockSession(ctx, w.by.SessionID)
	}
	if err == nil {
		err = w.LockToken(ctx, w.by.TokenID)
	}
	if errors.Is(err, store.ErrNotFound) {
		return user, ErrUnauthenticated
	}
	if err != nil {
		return user, err
	}
	_, err = self(ctx, w.Tx, w.by)
	return user, err
}

// admin is self for callers who are admins at this moment.
func admin(ctx context.Context, tx *store.Tx, c Caller) error {
	user, err := self(ctx, tx, c)
	if err != nil {
		return err
	}
	return requireAdmin(c, user)
}

// lockAdmin is lockSelf for callers who are admins, and stay so until the transaction ends.
func (w *work) lockAdmin(ctx context.Context) error {
	user, err := w.lockSelf(ctx)
	if err != nil {
		return err
	}
	return requireAdmin(w.by, user)
}

// requireAdmin refuses test tokens too.
func requireAdmin(c Caller, user store.User) error {
	if c.Mode != events.ModeLive || !slices.Contains(user.Roles, RoleAdmin) {
		return ErrForbidden
	}
	return nil
}
