package elite

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/liveness"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Store reads the primary. Each call is one statement that begins after the call did.
type Store interface {
	TokenKeySet(ctx context.Context) (jwks []string, now int64, err error)
	// Readable is the probe: while it fails, nothing can be answered.
	Readable(ctx context.Context) error
}

// Gatherer reads what questions ask for; see [liveness.Gatherer.Submit].
type Gatherer interface {
	Submit(asker string, question store.Question, done func(store.State, error)) bool
}

// Ring holds the feed key that signs now.
type Ring interface {
	FeedSigner() *events.Signer
}

// Pages makes and keeps the pages of the feed. The errors are [feed.ErrBusy] and [feed.ErrGone]; others are the
// database's.
type Pages interface {
	Page(ctx context.Context, epoch string, from uint64) (feed.Message, error)
	Compact(ctx context.Context, epoch string, from uint64) (feed.Message, error)
}

// responder answers one question after the other. It is safe for concurrent use.
type responder struct {
	store Store
	ring  Ring
	pages Pages
}

// inquiry is a question whose answer is made of one shared read.
type inquiry struct {
	store.Question
	answer func(store.State) (feed.Message, error)
}

// inquire understands a check or a resolve. [events.ErrInvalid] means that it can't be understood.
func (r responder) inquire(question Question, body []byte) (inquiry, error) {
	if question == Check {
		return r.check(body)
	}
	return r.resolve(body)
}

// answer answers a question that has a read of its own. The errors are [events.ErrInvalid], and those of [Pages].
func (r responder) answer(ctx context.Context, question Question, body []byte) (feed.Message, error) {
	if question == Keys {
		return r.keys(ctx, body)
	}
	return r.snapshot(ctx, body)
}

func (r responder) check(body []byte) (inquiry, error) {
	request, err := events.DecodeCheckRequest(body)
	if err != nil {
		return inquiry{}, err
	}
	answer := events.CheckAnswer{Nonce: request.Nonce, Request: events.HashOf(body)}
	if request.KeyHash != nil {
		return inquiry{keyQuestion(*request.KeyHash), func(state store.State) (feed.Message, error) {
			answer.Now, answer.Reason = state.Now, liveness.Key(state)
			if found := state.Credentials[0]; answer.Reason == liveness.Alive {
				answer.Active, answer.User, answer.Key = true, userInfo(found.KeyUser), keyInfo(found.Key)
			}
			return r.sign(events.KindCheck, answer)
		}}, nil
	}
	return inquiry{tokenQuestion(request), func(state store.State) (feed.Message, error) {
		answer.Now, answer.Reason = state.Now, liveness.Token(state)
		if found := state.Credentials[0]; answer.Reason == liveness.Alive {
			answer.Active, answer.User = true, userInfo(found.User)
			answer.User.Roles, answer.NotAfter = liveness.Roles(state), liveness.NotAfter(state)
			if request.KeyID != "" {
				answer.Key = keyInfo(found.Key)
			}
		}
		return r.sign(events.KindCheck, answer)
	}}, nil
}

func keyQuestion(hash events.Hash) store.Question {
	return store.Question{Credentials: []store.Credential{{KeyHash: &hash}}}
}

func tokenQuestion(request events.CheckRequest) store.Question {
	own := store.Credential{JTI: request.JTI, SessionID: request.SessionID, Subject: request.Subject, KeyID: request.KeyID, TV: request.TV}
	return liveness.Question(searchableKID(request.Kid), own, request.Parents)
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

func (r responder) resolve(body []byte) (inquiry, error) {
	request, err := events.DecodeResolveRequest(body)
	if err != nil {
		return inquiry{}, err
	}
	answer := events.ResolveAnswer{Nonce: request.Nonce, Request: events.HashOf(body)}
	return inquiry{keyQuestion(request.KeyHash), func(state store.State) (feed.Message, error) {
		answer.Now = state.Now
		if found := state.Credentials[0]; !liveness.KeyIsGone(state) {
			answer.Found, answer.User, answer.Key = true, userInfo(found.KeyUser), keyInfo(found.Key)
		}
		return r.sign(events.KindResolve, answer)
	}}, nil
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
	if request.Compact >= events.CompactForm {
		return r.pages.Compact(ctx, request.Epoch, request.From)
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

func userInfo(u store.User) *events.UserInfo {
	return &events.UserInfo{ID: u.ID, Roles: u.Roles, Plan: u.Plan, Disabled: u.Disabled, RV: u.RV}
}

// keyInfo describes a key. One that was ended at once has its end before all time: the clock may have been set back since.
func keyInfo(k store.APIKey) *events.KeyInfo {
	if k.Ended {
		k.NotAfter = new(int64)
		*k.NotAfter = 1
	}
	return &events.KeyInfo{ID: k.ID, Mode: events.Mode(k.Mode), Scopes: k.Scopes, TV: k.TV, KV: k.KV,
		Suspended: k.Suspended, NotAfter: k.NotAfter}
}
