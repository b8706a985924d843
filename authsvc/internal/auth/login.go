package auth

import (
	"context"
	"errors"
	"slices"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Login is a user's proof of identity. Mode empty means live.
type Login struct {
	Username string
	Password string
	Mode     events.Mode
}

// Tokens are what login and refresh give. Lives are in whole seconds.
type Tokens struct {
	AccessToken      string `json:"access_token"`
	TokenType        string `json:"token_type"`
	ExpiresIn        int64  `json:"expires_in"`
	RefreshToken     string `json:"refresh_token"`
	RefreshExpiresIn int64  `json:"refresh_expires_in"`
	SessionID        string `json:"session_id"`
}

// maxLoginAttempts bounds how often a login is begun again because the user changed while the password was verified.
const maxLoginAttempts = 4

// errUserChanged means that a password was verified against a hash that the user doesn't have any more.
var errUserChanged = errors.New("user changed during the login")

// Login opens a session, and ends another one where the user has [MaxSessions]. An unknown user, a wrong password and a disabled user give the same [ErrInvalidCredentials]
// after the same work. Other errors: [ErrInvalidRequest], [ErrThrottled].
func (s *Service) Login(ctx context.Context, l Login, from Client) (Tokens, error) {
	if l.Mode == "" {
		l.Mode = events.ModeLive
	}
	if err := checkMode(l.Mode); err != nil {
		return Tokens{}, err
	}
	for range maxLoginAttempts {
		user, fresh, err := s.verifyLogin(ctx, l.Username, l.Password)
		if errors.Is(err, ErrInvalidCredentials) {
			s.log.InfoContext(ctx, "login refused", "ip", from.IP) // no username: people type passwords there
		}
		if err != nil {
			return Tokens{}, err
		}
		tokens, err := s.openSession(ctx, user, fresh, l.Mode, from.cut())
		if !errors.Is(err, errUserChanged) {
			return tokens, err
		}
	}
	return Tokens{}, ErrInvalidCredentials
}

// SignedInFrom reports whether the owner of a username had a session in the last days whose address is one of those that are
// meant. It is false for a name that nobody has.
func (s *Service) SignedInFrom(ctx context.Context, name string, meant func(ip string) bool) (bool, error) {
	username, err := canonicalUsername(name)
	if err != nil {
		return false, nil
	}
	var addresses []string
	err = s.view(ctx, func(tx *store.Tx) (err error) {
		addresses, err = tx.AddressesOf(ctx, username)
		return err
	})
	return slices.ContainsFunc(addresses, meant), err
}

// verifyLogin returns the user that a password is right for and, when the stored hash has outdated costs, a fresh one.
func (s *Service) verifyLogin(ctx context.Context, name, password string) (user store.User, fresh string, err error) {
	user, err = s.userByName(ctx, name)
	if errors.Is(err, ErrNotFound) {
		if err := s.hasher.verifyNobody(ctx, password); err != nil {
			return user, "", err
		}
		return user, "", ErrInvalidCredentials
	}
	if err != nil {
		return user, "", err
	}
	ok, stale, err := s.hasher.verify(ctx, user.PasswordHash, password)
	switch {
	case err != nil:
		return user, "", err
	case !ok || user.Disabled:
		return user, "", ErrInvalidCredentials
	case stale:
		fresh, err = s.hasher.hash(ctx, password)
	}
	return user, fresh, err
}

// userByName treats a name that nobody can have like one that nobody has.
func (s *Service) userByName(ctx context.Context, name string) (store.User, error) {
	username, err := canonicalUsername(name)
	if err != nil {
		return store.User{}, ErrNotFound
	}
	user, err := s.db.UserByName(ctx, username)
	return user, refusal(err)
}

// openSession issues tokens to the user whose password was verified, if that user is still the same under the lock.
func (s *Service) openSession(ctx context.Context, verified store.User, freshHash string, mode events.Mode, from Client) (Tokens, error) {
	var given grant
	by := Caller{Client: from, UserID: verified.ID}
	_, err := s.issue(ctx, by, s.cfg.AccessTTL, func(w *work, _ store.Authority) error {
		user, err := w.LockUser(ctx, verified.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return ErrInvalidCredentials
		case err != nil:
			return err
		case user.Disabled:
			return ErrInvalidCredentials
		case user.PasswordHash != verified.PasswordHash || user.TV != verified.TV:
			return errUserChanged
		}
		if freshHash != "" {
			if err := w.SetPassword(ctx, user.ID, freshHash); err != nil {
				return err
			}
		}
		given, err = s.startFamily(ctx, w, user, mode)
		return err
	})
	if err != nil {
		return Tokens{}, err
	}
	return given.sign()
}

// startFamily makes a session with its first refresh token and access token. The user MUST be locked.
func (s *Service) startFamily(ctx context.Context, w *work, user store.User, mode events.Mode) (grant, error) {
	if err := w.makeRoom(ctx, user); err != nil {
		return grant{}, err
	}
	now := w.Now()
	limit := now + s.cfg.RefreshTTL.Microseconds()
	session := store.Session{ID: w.NewID(), UserID: user.ID, Mode: string(mode), AMR: []string{"pwd"}, AuthTime: now,
		TV: user.TV, CreatedAt: now, LastUsedAt: now, ExpiresAt: limit,
		IdleExpiresAt: min(limit, now+s.cfg.RefreshIdle.Microseconds()), IP: w.by.IP, UserAgent: w.by.UserAgent}
	if err := w.InsertSession(ctx, session); err != nil {
		return grant{}, err
	}
	refresh := newRefreshToken()
	err := w.InsertRefreshToken(ctx, store.RefreshToken{Hash: hashSecret(refresh), SessionID: session.ID, CreatedAt: now})
	if err != nil {
		return grant{}, err
	}
	err = w.record(ctx, deed{action: "session.opened", target: sessionTarget(session.ID), detail: map[string]any{"mode": mode}})
	if err != nil {
		return grant{}, err
	}
	return s.grant(ctx, w, user, session, refresh)
}

// grant is what a transaction lets a client have. It is signed when that is committed: others wait for the locks.
type grant struct {
	key    TokenKey
	claims accessClaims
	tokens Tokens
}

// grant makes out an access token for a living session. The user and the session MUST be locked. No token outlives its
// session, so that the end of a session by age needs no event.
func (s *Service) grant(ctx context.Context, w *work, user store.User, session store.Session, refresh string) (grant, error) {
	iat := w.Now() / 1e6
	refreshEnd := min(session.ExpiresAt, session.IdleExpiresAt)
	exp := min(iat+int64(s.cfg.AccessTTL.Seconds()), refreshEnd/1e6)
	key, err := s.ring.TokenSigner(ctx, w.Tx)
	if err != nil {
		return grant{}, err
	}
	return grant{key: key, claims: accessClaims{
		Issuer: s.cfg.Issuer, Subject: user.ID, Audience: s.cfg.Audience, Expires: exp, IssuedAt: iat, ID: w.NewID(),
		ClientID: clientLogin, SessionID: session.ID, Roles: user.Roles, RV: user.RV, TV: user.TV,
		Mode: events.Mode(session.Mode), AuthTime: session.AuthTime / 1e6, AMR: session.AMR,
	}, tokens: Tokens{TokenType: "Bearer", ExpiresIn: exp - iat, RefreshToken: refresh,
		RefreshExpiresIn: refreshEnd/1e6 - iat, SessionID: session.ID}}, nil
}

func (g grant) sign() (Tokens, error) {
	token, err := signToken(g.key.KID, g.key.Alg, g.key.Private, g.claims)
	if err != nil {
		return Tokens{}, err
	}
	g.tokens.AccessToken = token
	return g.tokens, nil
}
