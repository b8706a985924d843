package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Type names what an event says. It is the last token of the subject that carries it.
type Type string

// The event types of this version.
const (
	TypeTokenRevoked  Type = "token.revoked"
	TypeRoleChanged   Type = "role.changed"
	TypeAPIKeyRotated Type = "apikey.rotated"
	TypeKeysChanged   Type = "keys.changed"
)

// MaxEventSize is the largest event, in bytes. Writers split what would be larger.
const MaxEventSize = 64 << 10

// ErrInvalid is wrapped by every decoding error of this package.
var ErrInvalid = errors.New("invalid message")

// Payload is what an event says: one of [TokenRevoked], [RoleChanged], [APIKeyRotated], [KeysChanged], [Unknown].
type Payload interface {
	Type() Type
	validate() error
}

// TokenRevoked kills the credentials that exactly one selector names: JTI, SessionID, UserID, UserIDs or Before.
type TokenRevoked struct {
	JTI       string   `json:"jti,omitempty"`
	SessionID string   `json:"session_id,omitempty"`
	UserID    string   `json:"user_id,omitempty"`
	UserIDs   []string `json:"user_ids,omitempty"`
	// TV goes with UserID and UserIDs: tokens of those users with a lower tv are dead.
	TV int64 `json:"tv,omitempty"`
	// Before, in milliseconds: every token whose jti or session id was made earlier is dead.
	Before int64 `json:"before,omitempty"`
	// Keys extends UserID and UserIDs to API keys created under a lower tv, and Before to API keys with older ids.
	Keys bool `json:"keys,omitempty"`
}

// RoleChanged is the whole authorization state of a user at version RV. The highest version wins.
type RoleChanged struct {
	UserID   string   `json:"user_id"`
	RV       int64    `json:"rv"`
	Roles    []string `json:"roles"`
	Plan     string   `json:"plan"`
	Disabled bool     `json:"disabled"`
}

// APIKeyRotated ends or suspends an API key. NotAfter and Suspended may not both be nil.
type APIKeyRotated struct {
	KeyID     string `json:"key_id"`
	Successor string `json:"successor,omitempty"`
	// NotAfter is when the key dies; the smallest ever seen holds. Not later than the event's own time: dead at once.
	NotAfter *int64 `json:"not_after,omitempty"`
	// Suspended holds at version KV; the highest version wins.
	Suspended *bool `json:"suspended,omitempty"`
	KV        int64 `json:"kv,omitempty"`
}

// KeysChanged announces the hash ([KeySetHash]) of the new token key set.
type KeysChanged struct {
	Hash Hash `json:"hash"`
}

// Unknown stands for an event whose type or selector this version doesn't know.
type Unknown struct {
	Name Type
	// Ignorable events may be passed over without being understood.
	Ignorable bool
}

func (TokenRevoked) Type() Type  { return TypeTokenRevoked }
func (RoleChanged) Type() Type   { return TypeRoleChanged }
func (APIKeyRotated) Type() Type { return TypeAPIKeyRotated }
func (KeysChanged) Type() Type   { return TypeKeysChanged }
func (u Unknown) Type() Type     { return u.Name }

// Event is one entry of the feed.
type Event struct {
	// Seq is the dense position in the epoch, from 1.
	Seq uint64
	// At is when the dispatcher numbered it; Until is when no credential that it concerns can be alive any more.
	At, Until int64
	Payload   Payload
	// Raw is the event's final bytes: what the chain hashes.
	Raw []byte
}

// EncodePayload returns the type's own fields as a JSON object. It refuses a payload that [DecodeEvent] would.
func EncodePayload(p Payload) ([]byte, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	return json.Marshal(p)
}

// EncodeEvent makes an event's final bytes from a payload object made by [EncodePayload].
func EncodeEvent(seq uint64, t Type, at, until int64, payload []byte) ([]byte, error) {
	if seq == 0 || at <= 0 || until < at {
		return nil, fmt.Errorf("%w: event header", ErrInvalid)
	}
	if len(payload) < 2 || payload[0] != '{' || payload[len(payload)-1] != '}' {
		return nil, fmt.Errorf("%w: event payload is not an object", ErrInvalid)
	}
	b := make([]byte, 0, len(payload)+96)
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, seq, 10)
	b = append(b, `,"type":`...)
	b = strconv.AppendQuote(b, string(t))
	b = append(b, `,"at":`...)
	b = strconv.AppendInt(b, at, 10)
	b = append(b, `,"until":`...)
	b = strconv.AppendInt(b, until, 10)
	if len(payload) > 2 {
		b = append(b, ',')
	}
	b = append(b, payload[1:]...)
	if len(b) > MaxEventSize {
		return nil, fmt.Errorf("%w: event of %d bytes", ErrInvalid, len(b))
	}
	return b, nil
}

// DecodeEvent reads one event. A type or selector of a newer version is not an error: see [Unknown].
func DecodeEvent(raw []byte) (Event, error) {
	if len(raw) > MaxEventSize {
		return Event{}, fmt.Errorf("%w: event of %d bytes", ErrInvalid, len(raw))
	}
	var head struct {
		Seq       uint64 `json:"seq"`
		Type      Type   `json:"type"`
		At        int64  `json:"at"`
		Until     int64  `json:"until"`
		Ignorable bool   `json:"ignorable"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return Event{}, fmt.Errorf("%w: event: %w", ErrInvalid, err)
	}
	if head.Seq == 0 || head.At <= 0 || head.Until < head.At || head.Type == "" {
		return Event{}, fmt.Errorf("%w: event header", ErrInvalid)
	}
	p, err := decodePayload(head.Type, head.Ignorable, raw)
	if err != nil {
		return Event{}, err
	}
	return Event{Seq: head.Seq, At: head.At, Until: head.Until, Payload: p, Raw: bytes.Clone(raw)}, nil
}

func decodePayload(t Type, ignorable bool, raw []byte) (Payload, error) {
	switch t {
	case TypeTokenRevoked:
		return decodeAs[TokenRevoked](t, ignorable, raw)
	case TypeRoleChanged:
		return decodeAs[RoleChanged](t, ignorable, raw)
	case TypeAPIKeyRotated:
		return decodeAs[APIKeyRotated](t, ignorable, raw)
	case TypeKeysChanged:
		return decodeAs[KeysChanged](t, ignorable, raw)
	default:
		return Unknown{Name: t, Ignorable: ignorable}, nil
	}
}

// errNoSelector marks a payload that says nothing this version understands.
var errNoSelector = fmt.Errorf("%w: no known selector", ErrInvalid)

func decodeAs[P Payload](t Type, ignorable bool, raw []byte) (Payload, error) {
	var p P
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, t, err)
	}
	switch err := p.validate(); {
	case errors.Is(err, errNoSelector):
		return Unknown{Name: t, Ignorable: ignorable}, nil
	case err != nil:
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	return p, nil
}

func (e TokenRevoked) validate() error {
	selectors := 0
	for _, given := range []bool{e.JTI != "", e.SessionID != "", e.UserID != "", len(e.UserIDs) > 0, e.Before > 0} {
		if given {
			selectors++
		}
	}
	byUser := e.UserID != "" || len(e.UserIDs) > 0
	switch {
	case selectors == 0:
		return errNoSelector
	case selectors > 1:
		return fmt.Errorf("%w: more than one selector", ErrInvalid)
	case byUser != (e.TV > 0):
		return fmt.Errorf("%w: tv goes with user_id and user_ids", ErrInvalid)
	case e.Keys && !byUser && e.Before == 0:
		return fmt.Errorf("%w: keys goes with users and before", ErrInvalid)
	}
	if err := validIDs(e.UserIDs...); err != nil {
		return err
	}
	return validIDs(e.JTI, e.SessionID, e.UserID)
}

func (e RoleChanged) validate() error {
	if e.UserID == "" || e.RV <= 0 {
		return fmt.Errorf("%w: user_id and rv are required", ErrInvalid)
	}
	return validIDs(e.UserID)
}

func (e APIKeyRotated) validate() error {
	switch {
	case e.KeyID == "":
		return fmt.Errorf("%w: key_id is required", ErrInvalid)
	case e.NotAfter == nil && e.Suspended == nil:
		return errNoSelector
	case (e.Suspended != nil) != (e.KV > 0):
		return fmt.Errorf("%w: kv goes with suspended", ErrInvalid)
	}
	return validIDs(e.KeyID, e.Successor)
}

func (e KeysChanged) validate() error {
	if e.Hash == (Hash{}) {
		return fmt.Errorf("%w: hash is required", ErrInvalid)
	}
	return nil
}

func (u Unknown) validate() error { return fmt.Errorf("%w: unknown type", ErrInvalid) }

// Content returns the payload object that an event's final bytes were made of, with fields that this version doesn't know.
// [EncodeEvent] makes the same event of it under another seq and other times.
func (e Event) Content() ([]byte, error) {
	head, err := EncodeEvent(e.Seq, e.Payload.Type(), e.At, e.Until, []byte("{}"))
	if err != nil {
		return nil, err
	}
	rest, ours := bytes.CutPrefix(e.Raw, head[:len(head)-1])
	if !ours || len(rest) == 0 || (rest[0] != ',' && rest[0] != '}') {
		return nil, fmt.Errorf("%w: event in another form", ErrInvalid)
	}
	return append([]byte{'{'}, bytes.TrimPrefix(rest, []byte{','})...), nil
}
