package elite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Store reads the primary. Each call is one statement that begins after the call did.
type Store interface {
	CheckToken(ctx context.Context, kid string, credentials []store.Credential) (store.TokenState, error)
	KeyByHash(ctx context.Context, hash events.Hash) (store.KeyState, error)
	TokenKeySet(ctx context.Context) (jwks []string, now int64, err error)
	// Readable is the probe: while it fails, nothing can be answered.
	Readable(ctx context.Context) error
}

// Ring holds the feed key that signs now.
type Ring interface {
	FeedSigner() *events.Signer
}

// Pages makes and keeps the pages of the feed. The errors are [feed.ErrBusy] and [feed.ErrGone]; others are the
// database's.
type Pages interface {
	Page(ctx context.Context, epoch string, from uint64) (feed.Message, error)
}

// responder answers one question after the other. It is safe for concurrent use.
type responder struct {
	store Store
	ring  Ring
	pages Pages
}

// answer answers a question of a kind. [events.ErrInvalid] means that the question can't be understood.
func (r responder) answer(ctx context.Context, question Question, body []byte) (feed.Message, error) {
	switch question {
	case Check:
		return r.check(ctx, body)
	case Resolve:
		return r.resolve(ctx, body)
	case Keys:
		return r.keys(ctx, body)
	case Snapshot:
		return r.snapshot(ctx, body)
	}
	return feed.Message{}, fmt.Errorf("%w: question %q", events.ErrInvalid, question)
}

func (r responder) check(ctx context.Context, body []byte) (feed.Message, error) {
	request, err := events.DecodeCheckRequest(body)
	if err != nil {
		return feed.Message{}, err
	}
	answer := events.CheckAnswer{Nonce: request.Nonce, Request: events.HashOf(body)}
	if request.KeyHash != nil {
		err = r.checkKey(ctx, *request.KeyHash, &answer)
	} else {
		err = r.checkToken(ctx, request, &answer)
	}
	if err != nil {
		return feed.Message{}, err
	}
	return r.sign(events.KindCheck, answer)
}

func (r responder) checkKey(ctx context.Context, hash events.Hash, answer *events.CheckAnswer) error {
	state, err := r.store.KeyByHash(ctx, hash)
	if err != nil {
		return err
	}
	answer.Now = state.Now
	if state.Key.ID == "" {
		answer.Reason = events.ReasonUnknownKey
		return nil
	}
	answer.Reason = judgeKey(state.Key, state.User, state.Authority, state.Now)
	if answer.Reason == alive {
		answer.Active, answer.User, answer.Key = true, userInfo(state.User), keyInfo(state.Key)
	}
	return nil
}

func (r responder) checkToken(ctx context.Context, request events.CheckRequest, answer *events.CheckAnswer) error {
	credentials := []store.Credential{{JTI: request.JTI, SessionID: request.SessionID, Subject: request.Subject,
		KeyID: request.KeyID, TV: request.TV}}
	for _, p := range request.Parents {
		credentials = append(credentials, store.Credential{JTI: p.JTI, SessionID: p.SessionID, Subject: p.Subject,
			KeyID: p.KeyID, TV: p.TV})
	}
	state, err := r.store.CheckToken(ctx, searchableKID(request.Kid), credentials)
	if err != nil {
		return err
	}
	answer.Now = state.Now
	answer.Reason = judgeToken(state)
	if answer.Reason == alive {
		answer.Active, answer.User = true, userInfo(state.Credentials[0].User)
		if request.KeyID != "" {
			answer.Key = keyInfo(state.Credentials[0].Key)
		}
	}
	return nil
}

// searchableKID returns "", which no key has, for what can't be a thumbprint: a database may refuse such text, and one
// service's nonsense must not look like a failing database.
func searchableKID(kid string) string {
	const thumbprint = 43 // SHA-256 in base64url
	if len(kid) != thumbprint {
		return ""
	}
	for i := range len(kid) {
		c := kid[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return ""
		}
	}
	return kid
}

func (r responder) resolve(ctx context.Context, body []byte) (feed.Message, error) {
	request, err := events.DecodeResolveRequest(body)
	if err != nil {
		return feed.Message{}, err
	}
	state, err := r.store.KeyByHash(ctx, request.KeyHash)
	if err != nil {
		return feed.Message{}, err
	}
	answer := events.ResolveAnswer{Nonce: request.Nonce, Request: events.HashOf(body), Now: state.Now}
	if !dead(state) {
		answer.Found, answer.User, answer.Key = true, userInfo(state.User), keyInfo(state.Key)
	}
	return r.sign(events.KindResolve, answer)
}

func (r responder) keys(ctx context.Context, body []byte) (feed.Message, error) {
	request, err := events.DecodeKeysRequest(body)
	if err != nil {
		return feed.Message{}, err
	}
	jwks, now, err := r.store.TokenKeySet(ctx)
	if err != nil {
		return feed.Message{}, err
	}
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{Keys: []json.RawMessage{}}
	for _, jwk := range jwks {
		set.Keys = append(set.Keys, json.RawMessage(jwk))
	}
	raw, err := json.Marshal(set)
	if err != nil {
		return feed.Message{}, fmt.Errorf("key set: %w", err)
	}
	return r.sign(events.KindKeys, events.KeysAnswer{Nonce: request.Nonce, Request: events.HashOf(body), JWKS: raw, Now: now})
}

func (r responder) snapshot(ctx context.Context, body []byte) (feed.Message, error) {
	request, err := events.DecodeSnapshotRequest(body)
	if err != nil {
		return feed.Message{}, err
	}
	return r.pages.Page(ctx, request.Epoch, request.From)
}

func (r responder) sign(kind events.Kind, answer any) (feed.Message, error) {
	body, err := json.Marshal(answer)
	if err != nil {
		return feed.Message{}, fmt.Errorf("answer: %w", err)
	}
	signer := r.ring.FeedSigner()
	return feed.Message{Body: body, Key: signer.KeyID(), Signature: signer.Sign(kind, body)}, nil
}
