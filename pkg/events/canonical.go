package events

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// The feed sends messages in one form, and a mass revocation sends thousands of users in each. What is read here in one pass is
// read as encoding/json would; what isn't in that form, or is wrong, is left to encoding/json.

// batchMessage is the envelope of a batch.
type batchMessage struct {
	Epoch    string            `json:"epoch"`
	FirstSeq uint64            `json:"first_seq"`
	Prev     Hash              `json:"prev"`
	Chain    Hash              `json:"chain"`
	Floor    uint64            `json:"floor"`
	Ack      bool              `json:"ack"`
	Events   []json.RawMessage `json:"events"`
}

// splitCanonical reads a batch in the form that [EncodeBatch] gives it, of events in the form of decodeCanonical. The events
// are parts of the body.
func splitCanonical(body []byte) (m batchMessage, ok bool) {
	s := canonical{rest: body}
	m.Epoch = s.id(`{"epoch":`)
	s.pass(`,"first_seq":`)
	m.FirstSeq = s.count()
	m.Prev = s.hash(`,"prev":"`)
	m.Chain = s.hash(`,"chain":"`)
	s.pass(`,"floor":`)
	m.Floor = s.count()
	m.Ack = s.hasPassed(`,"ack":true`)
	s.pass(`,"events":[`)
	for open := ``; !s.bad && !s.hasPassed(`]}`); open = `,` {
		s.pass(open)
		from := s.rest
		s.event()
		m.Events = append(m.Events, from[:len(from)-len(s.rest)])
	}
	return m, !s.bad && len(s.rest) == 0
}

// decodeCanonical reads an event in the form that [EncodeEvent] and [EncodePayload] give it, if it is about tokens or keys.
func decodeCanonical(raw []byte) (e Event, ok bool) {
	s := canonical{rest: raw}
	e = s.event()
	if s.bad || len(s.rest) > 0 || e.Seq == 0 || e.At <= 0 || e.Until < e.At || e.Payload.validate() != nil {
		return Event{}, false
	}
	e.Raw = bytes.Clone(raw)
	return e, true
}

func (s *canonical) event() (e Event) {
	s.pass(`{"seq":`)
	e.Seq = s.count()
	s.pass(`,"type":"`)
	name := s.until('"')
	s.pass(`,"at":`)
	e.At = s.number()
	s.pass(`,"until":`)
	e.Until = s.number()
	s.pass(`,"`)
	switch Type(name) {
	case TypeTokenRevoked:
		e.Payload = s.revoked()
	case TypeAPIKeyRotated:
		e.Payload = s.key()
	default:
		s.bad = true
	}
	s.pass(`}`)
	return e
}

// canonical passes over text. The first thing that isn't there sets bad, and everything is zero from then on.
type canonical struct {
	rest []byte
	bad  bool
}

func (s *canonical) revoked() (p TokenRevoked) {
	switch name := s.until('"'); string(name) {
	case "jti":
		p.JTI = s.id(`:`)
		return p
	case "session_id":
		p.SessionID = s.id(`:`)
		return p
	case "user_id":
		p.UserID = s.id(`:`)
		s.pass(`,"tv":`)
		p.TV = s.number()
	case "user_ids":
		p.UserIDs = make([]string, 0, bytes.IndexByte(s.rest, ']')/len(`"",0123456789abcdef0123456789abcdef0123`)+1)
		for open := `:[`; !s.bad && (open == `:[` || !s.has(`]`)); open = `,` {
			p.UserIDs = append(p.UserIDs, s.id(open))
		}
		s.pass(`],"tv":`)
		p.TV = s.number()
	case "before":
		s.pass(`:`)
		p.Before = s.number()
	default:
		s.bad = true
	}
	p.Keys = s.hasPassed(`,"keys":true`)
	return p
}

func (s *canonical) key() (p APIKeyRotated) {
	s.pass(`key_id"`)
	p.KeyID = s.id(`:`)
	if s.hasPassed(`,"successor"`) {
		p.Successor = s.id(`:`)
	}
	if s.hasPassed(`,"not_after":`) {
		end := s.number()
		p.NotAfter = &end
	}
	if s.hasPassed(`,"suspended":`) {
		suspended := s.hasPassed(`true`)
		if !suspended {
			s.pass(`false`)
		}
		s.pass(`,"kv":`)
		p.Suspended, p.KV = &suspended, s.number()
	}
	return p
}

// id passes over what opens it, and a UUID in quotes.
func (s *canonical) id(open string) string {
	s.pass(open)
	s.pass(`"`)
	const length = 36
	if len(s.rest) <= length || s.rest[length] != '"' {
		s.bad = true
		return ""
	}
	text := string(s.rest[:length])
	if _, err := ParseID(text); err != nil {
		s.bad = true
		return ""
	}
	s.rest = s.rest[length+1:]
	return text
}

func (s *canonical) has(text string) bool {
	return len(s.rest) >= len(text) && string(s.rest[:len(text)]) == text
}

func (s *canonical) hasPassed(text string) bool {
	if !s.has(text) {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

func (s *canonical) pass(text string) {
	if !s.hasPassed(text) {
		s.bad, s.rest = true, nil
	}
}

// until passes over what comes before a byte, and it.
func (s *canonical) until(end byte) []byte {
	i := bytes.IndexByte(s.rest, end)
	if i < 0 {
		s.bad, s.rest = true, nil
		return nil
	}
	text := s.rest[:i]
	s.rest = s.rest[i+1:]
	return text
}

// number passes over an integer in its shortest form.
func (s *canonical) number() int64 {
	i := 0
	for i < len(s.rest) && (s.rest[i] == '-' || '0' <= s.rest[i] && s.rest[i] <= '9') {
		i++
	}
	n, err := strconv.ParseInt(string(s.rest[:i]), 10, 64)
	if err != nil || (s.rest[0] == '0' && i > 1) || s.has("-0") {
		s.bad, s.rest = true, nil
		return 0
	}
	s.rest = s.rest[i:]
	return n
}

// count passes over a number that isn't negative.
func (s *canonical) count() uint64 {
	n := s.number()
	if n < 0 {
		s.bad, s.rest = true, nil
		return 0
	}
	return uint64(n)
}

// hash passes over what opens it, and a hash with the quote that closes it.
func (s *canonical) hash(open string) (h Hash) {
	s.pass(open)
	if h.UnmarshalText(s.until('"')) != nil {
		s.bad, s.rest = true, nil
	}
	return h
}
