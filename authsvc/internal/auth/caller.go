package auth

import (
	"context"
	"crypto"
	"errors"
	"slices"
	"time"

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

	tv  int64
	kid string // of the key that signed the access token
}

// Has reports whether the caller has a role.
func (c Caller) Has(role string) bool { return slices.Contains(c.Roles, role) }

// The roles that mean something to authsvc itself.
const (
	RoleUser       = "user"
	RoleAdmin      = store.RoleAdmin
	RoleDirectory  = "directory"
	RoleIntrospect = "introspect"
)

// AuthenticateBearer checks an access token of ours against keys and database. The error is [ErrUnauthenticated], or
// [ErrUnavailable].
func (s *Service) AuthenticateBearer(ctx context.Context, token string, from Client) (Caller, error) {
	var c Caller
	err := s.view(ctx, func(tx *store.Tx) error {
		found, err := s.readToken(ctx, tx, token, tx.Now())
		if err != nil {
			return err
		}
		if found.claims.Audience != s.cfg.Audience {
			return errNotAlive
		}
		c = Caller{Client: from.cut(), UserID: found.user.ID, SessionID: found.claims.SessionID, TokenID: found.claims.ID,
			Method: MethodBearer, Roles: found.user.Roles, Mode: found.claims.Mode,
			AuthTime: time.Unix(found.claims.AuthTime, 0).UTC(), AMR: found.claims.AMR, tv: found.claims.TV, kid: found.kid}
		return nil
	})
	return c, unauthenticated(err)
}

// AuthenticateKey checks an API key against the database. The error is [ErrUnauthenticated], or [ErrUnavailable].
func (s *Service) AuthenticateKey(ctx context.Context, key string, from Client) (Caller, error) {
	var c Caller
	err := s.view(ctx, func(tx *store.Tx) error {
		k, u, err := readKey(ctx, tx, key)
		if err != nil {
			return err
		}
		c = Caller{Client: from.cut(), UserID: u.ID, KeyID: k.ID, Method: MethodAPIKey, Roles: narrowed(u.Roles, k.Scopes),
			Mode: events.Mode(k.Mode), AuthTime: fromMicros(k.CreatedAt), AMR: []string{}, tv: k.TV}
		return nil
	})
	return c, unauthenticated(err)
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
	claims  accessClaims
	kid     string
	session store.Session
	user    store.User
}

// expiryMargin is for calls that revoke: a verifier, with its leeway for exp and a clock of its own, still accepts what
// expired here less long ago.
const expiryMargin = time.Minute

// readToken verifies an access token and looks up that it lives: exp and the session's end are judged by the time at. The
// error is errNotAlive when it doesn't.
func (s *Service) readToken(ctx context.Context, tx *store.Tx, token string, at int64) (foundToken, error) {
	var fault error
	var signer string
	claims, err := parseToken(token, func(kid string) (string, crypto.PublicKey, bool) {
		key, ok, err := s.ring.TokenKey(ctx, tx, kid)
		fault, signer = err, kid
		return key.Alg, key.Public, ok && err == nil
	})
	switch {
	case fault != nil:
		return foundToken{}, fault
	case err != nil, claims.Issuer != s.cfg.Issuer, claims.Expires*1e6 <= at:
		return foundToken{}, errNotAlive
	}
	session, user, err := livingToken(ctx, tx, tokenRef{
		jti: claims.ID, session: claims.SessionID, user: claims.Subject, tv: claims.TV}, at)
	return foundToken{claims: claims, kid: signer, session: session, user: user}, err
}

// tokenRef is what decides whether an access token was revoked.
type tokenRef struct {
	jti, session, user string
	tv                 int64
}

// livingToken looks up everything that can have ended a token by the time at, but its exp. The error is errNotAlive when
// something has.
func livingToken(ctx context.Context, tx *store.Tx, t tokenRef, at int64) (store.Session, store.User, error) {
	session, user, authority, err := tx.SessionWithUser(ctx, t.session)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return session, user, errNotAlive
	case err != nil:
		return session, user, err
	case !session.Alive(user, authority, at), user.ID != t.user, t.tv < user.TV, madeBefore(t.jti, authority.TokensBefore):
		return session, user, errNotAlive
	}
	switch _, err = tx.LiveEvent(ctx, jtiTarget(t.jti), events.TypeTokenRevoked); {
	case err == nil:
		return session, user, errNotAlive
	case !errors.Is(err, store.ErrNotFound):
		return session, user, err
	}
	return session, user, nil
}

// madeBefore reports whether an id is older than a time in milliseconds. An id that doesn't tell is.
func madeBefore(id string, millis int64) bool {
	parsed, err := events.ParseID(id)
	return err != nil || !parsed.IsV7() || parsed.Millis() < millis
}

// readKey looks up a living API key by its secret. The error is errNotAlive when there is none.
func readKey(ctx context.Context, tx *store.Tx, key string) (store.APIKey, store.User, error) {
	mode, err := apikey.Parse(key)
	if err != nil {
		return store.APIKey{}, store.User{}, errNotAlive
	}
	k, u, a, err := tx.APIKeyWithUser(ctx, hashSecret(key))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return k, u, errNotAlive
	case err != nil:
		return k, u, err
	case !k.Alive(u, a, tx.Now()) || k.Mode != string(mode):
		return k, u, errNotAlive
	}
	return k, u, nil
}

// narrowed returns the roles that a key with scopes has; without scopes it has all.
func narrowed(roles, scopes []string) []string {
	if len(scopes) == 0 {
		return roles
	}
	kept := []string{}
	for _, role := range roles {
		if slices.Contains(scopes, role) {
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

// self returns the caller's user, read afresh, when the caller's access token still lives.
// The errors are [ErrForbidden] for API keys, and [ErrUnauthenticated].
func self(ctx context.Context, tx *store.Tx, c Caller) (store.User, error) {
	if c.Method != MethodBearer {
		return store.User{}, ErrForbidden
	}
	_, user, err := livingToken(ctx, tx, tokenRef{jti: c.TokenID, session: c.SessionID, user: c.UserID, tv: c.tv}, tx.Now())
	return user, unauthenticated(err)
}

// lockSelf is self for transactions that issue a credential or widen trust: it locks the caller's token and the
// rows that it rests on, so that whatever ends the token comes before, and is seen here, or waits until the outcome can be seen.
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
	switch _, inSet, err := w.ring.TokenKey(ctx, w.Tx, w.by.kid); {
	case err != nil:
		return user, err
	case !inSet:
		return user, ErrUnauthenticated
	}
	return self(ctx, w.Tx, w.by)
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
