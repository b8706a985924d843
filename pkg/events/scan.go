package events

import (
	"bytes"
	"strconv"
)

// scanEvent reads an event in the one form that [EncodeEvent] and [EncodePayload] give those that a record can have. It is
// only to be fast: what it doesn't read goes into a page as it is, and what it reads is compared with what is made of it.
func scanEvent(seq uint64, raw []byte) (e Event, ok bool) {
	s := scanner{rest: raw}
	e = s.event()
	return e, !s.bad && len(s.rest) == 0 && e.Seq == seq && e.sound()
}

// sound is what DecodeEvent demands of an event whose ids are valid.
func (e Event) sound() bool {
	return e.Seq > 0 && e.At > 0 && e.Until >= e.At && e.Payload != nil && validFields(e.Payload) == nil
}

func (s *scanner) event() (e Event) {
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

// scanner passes over text. The first thing that isn't there sets bad, and everything is zero from then on.
type scanner struct {
	rest []byte
	bad  bool
}

func (s *scanner) revoked() (p TokenRevoked) {
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

func (s *scanner) key() (p APIKeyRotated) {
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
func (s *scanner) id(open string) string {
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

func (s *scanner) has(text string) bool {
	return len(s.rest) >= len(text) && string(s.rest[:len(text)]) == text
}

func (s *scanner) hasPassed(text string) bool {
	if !s.has(text) {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

func (s *scanner) pass(text string) {
	if !s.hasPassed(text) {
		s.bad, s.rest = true, nil
	}
}

// until passes over what comes before a byte, and it.
func (s *scanner) until(end byte) []byte {
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
func (s *scanner) number() int64 {
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
