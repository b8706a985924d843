package events

import (
	"encoding/json"
	"fmt"
)

// Mode separates live from test credentials; a service accepts one of them only.
type Mode string

// The two modes.
const (
	ModeLive Mode = "live"
	ModeTest Mode = "test"
)

// Parent is one credential that a token was derived from. A derived token dies with any of its parents.
type Parent struct {
	JTI       string `json:"jti,omitempty"`
	SessionID string `json:"sid,omitempty"`
	Subject   string `json:"sub,omitempty"`
	TV        int64  `json:"tv,omitempty"`
	KeyID     string `json:"key_id,omitempty"`
}

// CheckRequest asks authsvc to decide one credential afresh: a token whose claims the verifier has verified, or, when
// KeyHash is set, an API key by its SHA-256.
type CheckRequest struct {
	Nonce string `json:"nonce"`

	KeyHash *Hash `json:"key_hash,omitempty"`

	KeyID     string   `json:"key_id,omitempty"`
	Kid       string   `json:"kid,omitempty"`
	JTI       string   `json:"jti,omitempty"`
	SessionID string   `json:"sid,omitempty"`
	Subject   string   `json:"sub,omitempty"`
	TV        int64    `json:"tv,omitempty"`
	Mode      Mode     `json:"mode,omitempty"`
	Parents   []Parent `json:"parents,omitempty"`
}

// Reason is why authsvc refuses, in the words of the HTTP contract's codes.
type Reason string

// The reasons that an elite answer can give.
const (
	ReasonRevoked      Reason = "revoked"
	ReasonExpired      Reason = "expired"
	ReasonUnknownKey   Reason = "unknown_key"
	ReasonInvalidToken Reason = "invalid_token"
)

// CheckAnswer is the signed decision. When Active, User is the subject's authorization now, Key is there for keys and for tokens
// with a key_id, and NotAfter is when the first of the keys ends on which a token rests, if any does. A release of before tells
// no NotAfter.
type CheckAnswer struct {
	Nonce   string    `json:"nonce"`
	Request Hash      `json:"request"`
	Active  bool      `json:"active"`
	Reason  Reason    `json:"reason,omitempty"`
	User    *UserInfo `json:"user,omitempty"`
	Key     *KeyInfo  `json:"key,omitempty"`
	Now     int64     `json:"now"`

	NotAfter *int64 `json:"not_after,omitempty"`
}

// UserInfo is a user's authorization state at version RV.
type UserInfo struct {
	ID       string   `json:"id"`
	Roles    []string `json:"roles"`
	Plan     string   `json:"plan"`
	Disabled bool     `json:"disabled"`
	RV       int64    `json:"rv"`
}

// KeyInfo is what authsvc knows of an API key.
type KeyInfo struct {
	ID        string   `json:"id"`
	Mode      Mode     `json:"mode"`
	Scopes    []string `json:"scopes,omitempty"` // when given, they narrow the user's roles
	TV        int64    `json:"tv"`               // the user's tv when the key was made
	KV        int64    `json:"kv"`               // version of Suspended
	Suspended bool     `json:"suspended"`
	NotAfter  *int64   `json:"not_after,omitempty"`
}

// ResolveRequest asks whose an API key is.
type ResolveRequest struct {
	Nonce   string `json:"nonce"`
	KeyHash Hash   `json:"key_hash"` // SHA-256 of the whole key; the key itself never travels on the bus
}

// ResolveAnswer tells it. Found is false for keys that don't exist, and then the rest is empty.
type ResolveAnswer struct {
	Nonce   string    `json:"nonce"`
	Request Hash      `json:"request"`
	Found   bool      `json:"found"`
	User    *UserInfo `json:"user,omitempty"`
	Key     *KeyInfo  `json:"key,omitempty"`
	Now     int64     `json:"now"`
}

// KeysRequest asks for the token key set.
type KeysRequest struct {
	Nonce string `json:"nonce"`
}

// KeysAnswer carries the token key set as a JWK set (RFC 7517).
type KeysAnswer struct {
	Nonce   string          `json:"nonce"`
	Request Hash            `json:"request"`
	JWKS    json.RawMessage `json:"jwks"`
	Now     int64           `json:"now"`
}

// SnapshotRequest asks for the page of the feed that holds From. The answer is an ordinary signed batch of kind
// [KindFeed] that begins at or below From, or a message with the header [HeaderError].
type SnapshotRequest struct {
	Epoch string `json:"epoch"`
	From  uint64 `json:"from"`
	// Compact is the version of compact pages that the asker reads, [CompactForm]. The answer may then be one, of kind
	// [KindPage] and with [HeaderForm]; it need not, and from releases that know of none it isn't.
	Compact int `json:"compact,omitempty"`
}

// CompactForm is this release's version of compact pages.
const CompactForm = 1

// HeaderForm says in what form a page comes: [FormCompact], or, without it, as an ordinary batch. It only tells what to try.
const (
	HeaderForm  = "Tocsin-Form"
	FormCompact = "compact"
)

// HeaderError marks an unsigned refusal of a request: "busy" (try again), "gone" (no such epoch or seq) or "invalid" (the
// request can't be understood).
// It is advice only: whoever acts on it must fail closed.
const HeaderError = "Tocsin-Error"

// The values of [HeaderError].
const (
	ErrorBusy    = "busy"
	ErrorGone    = "gone"
	ErrorInvalid = "invalid"
)

// DecodeCheckRequest reads an unsigned question and checks every field.
func DecodeCheckRequest(body []byte) (CheckRequest, error) {
	var r CheckRequest
	if err := decodeRequest(body, &r); err != nil {
		return r, err
	}
	if !ValidNonce(r.Nonce) {
		return r, fmt.Errorf("%w: nonce", ErrInvalid)
	}
	if r.KeyHash != nil {
		return r, nil
	}
	if r.Kid == "" || r.JTI == "" || r.Subject == "" || (r.Mode != ModeLive && r.Mode != ModeTest) {
		return r, fmt.Errorf("%w: kid, jti, sub and mode are required", ErrInvalid)
	}
	if len(r.Parents) > MaxParents {
		return r, fmt.Errorf("%w: %d parents", ErrInvalid, len(r.Parents))
	}
	ids := []string{r.JTI, r.SessionID, r.Subject, r.KeyID}
	for _, p := range r.Parents {
		ids = append(ids, p.JTI, p.SessionID, p.Subject, p.KeyID)
	}
	return r, validIDs(ids...)
}

// MaxParents bounds how many credentials a token may be derived from.
const MaxParents = 8

// DecodeResolveRequest reads an unsigned question.
func DecodeResolveRequest(body []byte) (ResolveRequest, error) {
	var r ResolveRequest
	if err := decodeRequest(body, &r); err != nil {
		return r, err
	}
	if !ValidNonce(r.Nonce) || r.KeyHash == (Hash{}) {
		return r, fmt.Errorf("%w: nonce or key_hash", ErrInvalid)
	}
	return r, nil
}

// DecodeKeysRequest reads an unsigned question.
func DecodeKeysRequest(body []byte) (KeysRequest, error) {
	var r KeysRequest
	if err := decodeRequest(body, &r); err != nil {
		return r, err
	}
	if !ValidNonce(r.Nonce) {
		return r, fmt.Errorf("%w: nonce", ErrInvalid)
	}
	return r, nil
}

// DecodeSnapshotRequest reads an unsigned question.
func DecodeSnapshotRequest(body []byte) (SnapshotRequest, error) {
	var r SnapshotRequest
	if err := decodeRequest(body, &r); err != nil {
		return r, err
	}
	if _, err := ParseID(r.Epoch); err != nil || r.From == 0 {
		return r, fmt.Errorf("%w: epoch or from", ErrInvalid)
	}
	return r, nil
}

// DecodeCheckAnswer reads an answer whose signature was verified.
func DecodeCheckAnswer(body []byte) (CheckAnswer, error) {
	var a CheckAnswer
	if err := decodeRequest(body, &a); err != nil {
		return a, err
	}
	if a.Active && (a.User == nil || a.User.ID == "") {
		return a, fmt.Errorf("%w: active without user", ErrInvalid)
	}
	return a, nil
}

// DecodeResolveAnswer reads an answer whose signature was verified.
func DecodeResolveAnswer(body []byte) (ResolveAnswer, error) {
	var a ResolveAnswer
	if err := decodeRequest(body, &a); err != nil {
		return a, err
	}
	if !a.Found {
		return a, nil
	}
	if a.User == nil || a.Key == nil {
		return a, fmt.Errorf("%w: found without user or key", ErrInvalid)
	}
	return a, validIDs(a.User.ID, a.Key.ID)
}

// maxKeysAnswer bounds a key set: a hundred RSA keys.
const maxKeysAnswer = 64 << 10

// DecodeKeysAnswer reads an answer whose signature was verified.
func DecodeKeysAnswer(body []byte) (KeysAnswer, error) {
	var a KeysAnswer
	if len(body) > maxKeysAnswer {
		return a, fmt.Errorf("%w: %d bytes", ErrInvalid, len(body))
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return a, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return a, nil
}
