package auth

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// never is a time that doesn't come, in microseconds.
const never = math.MaxInt64

// derivedTTL is the life of derived tokens here: not even the first outlives what logins give.
func (s *Service) derivedTTL() time.Duration { return min(DerivedTTL, s.cfg.AccessTTL) }

// ClientCredentials issues a token to the user of the client's API key (RFC 6749, section 4.4). It dies with the key, and
// whenever the user's tokens do. The errors are [ErrInvalidScope], [ErrInvalidTarget] and [ErrUnauthenticated].
func (s *Service) ClientCredentials(ctx context.Context, c Caller, r TokenRequest) (DerivedToken, error) {
	scope, err := r.check(s.cfg.Audience)
	if err != nil {
		return DerivedToken{}, err
	}
	var d draft
	_, err = s.issue(ctx, c, s.derivedTTL(), func(w *work, a store.Authority) error {
		locked, err := w.lockFooting(ctx, subject{userID: c.UserID}.footing(c))
		if err != nil {
			return err
		}
		actor, err := w.judgeClient(locked, a)
		if err != nil {
			return err
		}
		d = draft{standing: standing{user: actor.user, roles: actor.roles, ends: never, lasts: never}, client: actor, life: s.derivedTTL()}
		if d.roles, err = scoped(scope, d.roles); err != nil {
			return err
		}
		return s.draw(ctx, w, &d, deed{action: "token.issued"})
	})
	if err != nil {
		return DerivedToken{}, err
	}
	return d.sign()
}

// Exchange issues a token on behalf of a subject to the client, who becomes its actor, or a job grant for one who will be
// (RFC 8693). A dead job grant is [ErrInvalidGrant]; other subjects that can't be exchanged are [ErrInvalidRequest], as what
// can't be asked for is. Other errors: [ErrInvalidScope], [ErrInvalidTarget], [ErrUnauthorizedClient], [ErrUnauthenticated].
func (s *Service) Exchange(ctx context.Context, c Caller, x Exchange) (DerivedToken, error) {
	if err := x.check(); err != nil {
		return DerivedToken{}, err
	}
	scope, err := x.TokenRequest.check(s.cfg.Audience)
	if err != nil {
		return DerivedToken{}, err
	}
	sub, err := s.subjectOf(ctx, c, x)
	if err != nil {
		return DerivedToken{}, err
	}
	life := s.derivedTTL()
	if x.wantsGrant() {
		life = 0 // no verifier takes it: it is judged by the database alone
	}
	var d draft
	_, err = s.issue(ctx, c, life, func(w *work, a store.Authority) error {
		d, err = s.exchange(ctx, w, a, sub, x, scope)
		return err
	})
	if err != nil {
		return DerivedToken{}, err
	}
	return d.sign()
}

// exchange locks and reads everything that the token will rest on, so that whatever ends one of them comes before, and is
// seen here, or waits until the outcome can be seen.
func (s *Service) exchange(ctx context.Context, w *work, a store.Authority, sub subject, x Exchange, scope []string) (draft, error) {
	locked, err := w.lockFooting(ctx, sub.footing(w.by))
	if err != nil {
		return draft{}, err
	}
	actor, err := w.judgeClient(locked, a)
	if err != nil {
		return draft{}, err
	}
	if role := x.demands(); role != "" && !slices.Contains(actor.roles, role) {
		return draft{}, ErrUnauthorizedClient
	}
	st, err := w.judge(ctx, sub, locked.users[sub.userID])
	if err != nil {
		return draft{}, err
	}
	d, done := draft{standing: st, client: actor, claims: sub.claims}, deed{}
	if x.wantsGrant() {
		done = d.grantJob(x.JobID)
	} else {
		done = d.act(s.derivedTTL(), sub)
	}
	if d.roles, err = scoped(scope, d.roles); err != nil {
		return draft{}, err
	}
	if err := s.draw(ctx, w, &d, done); err != nil {
		return draft{}, err
	}
	if d.claims.Expires <= d.claims.IssuedAt {
		return draft{}, sub.dead() // it has less than a second left
	}
	return d, nil
}

// act makes it a token of the subject's for the client: with the roles of both, until the first of both ends.
func (d *draft) act(life time.Duration, sub subject) deed {
	d.life = life
	d.roles = amongst(d.roles, d.client.roles)
	d.actor = &Actor{Subject: d.client.user.ID, ClientID: d.client.key.ID}
	d.parents = append(d.parents, events.Parent{Subject: d.client.user.ID, TV: d.client.user.TV, KeyID: d.client.key.ID})
	return deed{action: "token.exchanged", detail: map[string]any{"subject_token_type": sub.kind, "job_id": sub.claims.JobID}}
}

// grantJob makes it a job grant. The client that asks for it won't be the actor: its roles and its key don't bound it.
func (d *draft) grantJob(jobID string) deed {
	d.life, d.jobID = JobGrantTTL, jobID
	d.ends = d.lasts
	return deed{action: "job_grant.issued", detail: map[string]any{"job_id": jobID}}
}

// client is who asks for a token, afresh.
type client struct {
	user  store.User
	key   store.APIKey
	roles []string
}

// judgeClient reads the client that w.by was authenticated as. The error is [ErrUnauthenticated].
func (w *work) judgeClient(locked lockedRows, a store.Authority) (client, error) {
	user, key := locked.users[w.by.UserID], locked.keys[w.by.KeyID]
	if user.ID == "" || key.ID == "" || !key.Alive(user, a, w.Now()) || events.Mode(key.Mode) != w.by.Mode {
		return client{}, ErrUnauthenticated
	}
	return client{user: user, key: key, roles: narrowed(user.Roles, key.Scopes)}, nil
}

// draft is a token on its way to be signed, which happens when the transaction is committed.
type draft struct {
	standing
	client client
	actor  *Actor
	jobID  string
	life   time.Duration
	signer TokenKey
	claims accessClaims // at first the subject's
}

// draw makes out the claims and writes the audit row.
func (s *Service) draw(ctx context.Context, w *work, d *draft, done deed) (err error) {
	if d.signer, err = s.ring.TokenSigner(ctx, w.Tx); err != nil {
		return err
	}
	iat, from := w.Now()/1e6, d.claims
	ends := d.ends
	c := accessClaims{
		Issuer: s.cfg.Issuer, Subject: d.user.ID, Audience: s.cfg.Audience, IssuedAt: iat, ID: w.NewID(), ClientID: d.client.key.ID,
		Roles: d.roles, RV: d.user.RV, TV: d.user.TV, Mode: w.by.Mode, AuthTime: from.AuthTime, AMR: from.AMR,
		Parents: d.parents, Actor: d.actor, JobID: d.jobID,
	}
	if d.jobID == "" { // an access token is the client's, and ends with its key
		c.KeyID = d.client.key.ID
		if end := d.client.key.NotAfter; end != nil {
			ends = min(ends, *end)
		}
	}
	c.Expires = min(iat+int64(d.life.Seconds()), ends/1e6)
	d.claims = c
	done.target = userTarget(c.Subject)
	done.detail = withDetail(done.detail, map[string]any{"client_id": c.ClientID, "jti": c.ID, "roles": c.Roles})
	return w.record(ctx, done)
}

// withDetail adds to a detail, and leaves out what is empty.
func withDetail(detail, more map[string]any) map[string]any {
	all := map[string]any{}
	for _, part := range []map[string]any{detail, more} {
		for name, value := range part {
			if value != "" {
				all[name] = value
			}
		}
	}
	return all
}

func (d draft) sign() (DerivedToken, error) {
	token, err := signToken(d.signer.KID, d.signer.Alg, d.signer.Private, d.claims)
	if err != nil {
		return DerivedToken{}, err
	}
	issued := DerivedToken{AccessToken: token, IssuedTokenType: TypeAccessToken, TokenType: tokenTypeBearer,
		ExpiresIn: d.claims.Expires - d.claims.IssuedAt, Scope: strings.Join(d.claims.Roles, " ")}
	if d.claims.isJobGrant() {
		issued.IssuedTokenType, issued.TokenType = TypeJobGrant, tokenTypeNone
	}
	return issued, nil
}

// lockedRows are rows that this transaction holds.
type lockedRows struct {
	users map[string]store.User
	keys  map[string]store.APIKey
}

// lockFooting locks rows in the order of all who lock several: users, sessions, keys, tokens. What isn't there any more is
// missing from the answer.
func (w *work) lockFooting(ctx context.Context, f footing) (lockedRows, error) {
	locked := lockedRows{users: map[string]store.User{}, keys: map[string]store.APIKey{}}
	users, err := w.LockUsers(ctx, distinct(f.users))
	for _, user := range users {
		locked.users[user.ID] = user
	}
	if err == nil {
		err = w.LockSessions(ctx, distinct(f.sessions))
	}
	var keys []store.APIKey
	if err == nil {
		keys, err = w.LockAPIKeys(ctx, distinct(f.keys))
	}
	for _, key := range keys {
		locked.keys[key.ID] = key
	}
	for _, id := range distinct(f.tokens) {
		if err == nil {
			err = w.LockToken(ctx, id)
		}
	}
	return locked, err
}
