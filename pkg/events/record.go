package events

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
)

// The records of a compact page. Each begins with a byte: its kind in the lower half, and above it what is there of the
// fields that may be missing. Kinds but asIs go on with two signed varints, by how much later the event was numbered than
// the one before and by how much longer it lasts, and then with what the event says; versions and times in it are told by
// how much they differ from the event's own time. All of it wraps around, so that no value is too large for it.
const (
	asIs       byte = iota // the length of the event's bytes, as a varint, and those
	ofToken                // jti
	ofSession              // session_id
	ofUser                 // user_id, tv
	ofUsers                // their number as a varint, user_ids, tv
	ofBefore               // before, against the time in milliseconds
	ofKey                  // key_id, successor, not_after, kv
	kinds           = iota
	kindOfByte      = 0x0f

	withKeys byte = 0x10 // of ofUser, ofUsers, ofBefore

	withSuccessor byte = 0x10 // of ofKey
	withNotAfter  byte = 0x20
	withSuspended byte = 0x40
	isSuspended   byte = 0x80 // only with withSuspended
)

// allowed are the flags that a kind may have.
var allowed = [kinds]byte{ofUser: withKeys, ofUsers: withKeys, ofBefore: withKeys, ofKey: withSuccessor | withNotAfter | withSuspended | isSuspended}

// times are those of the last event that isn't asIs.
type times struct{ at, life int64 }

// appendRecord appends an event by its fields, if its bytes can be made of them again, else by its bytes.
func (p *PageEncoder) appendRecord(b []byte, seq uint64, raw []byte) []byte {
	if e, ok := scanEvent(seq, raw); ok {
		if p.regenerated = appendEvent(p.regenerated[:0], e); bytes.Equal(p.regenerated, raw) {
			b = appendFields(b, e, p.times)
			p.times = times{at: e.At, life: e.Until - e.At}
			return b
		}
	}
	return append(binary.AppendUvarint(append(b, asIs), uint64(len(raw))), raw...)
}

func appendFields(b []byte, e Event, last times) []byte {
	flags, at := len(b), e.At
	b = append(b, 0)
	b = binary.AppendVarint(b, e.At-last.at)
	b = binary.AppendVarint(b, e.Until-e.At-last.life)
	switch p := e.Payload.(type) {
	case TokenRevoked:
		return appendRevokedFields(b, flags, p, at)
	case APIKeyRotated:
		return appendKeyFields(b, flags, p, at)
	}
	return b
}

func appendRevokedFields(b []byte, flags int, p TokenRevoked, at int64) []byte {
	switch {
	case p.JTI != "":
		b[flags] = ofToken
		return appendID(b, p.JTI)
	case p.SessionID != "":
		b[flags] = ofSession
		return appendID(b, p.SessionID)
	case p.UserID != "":
		b[flags] = ofUser
		b = binary.AppendVarint(appendID(b, p.UserID), p.TV-at)
	case len(p.UserIDs) > 0:
		b[flags] = ofUsers
		b = binary.AppendUvarint(b, uint64(len(p.UserIDs)))
		for _, id := range p.UserIDs {
			b = appendID(b, id)
		}
		b = binary.AppendVarint(b, p.TV-at)
	default:
		b[flags] = ofBefore
		b = binary.AppendVarint(b, p.Before-at/1000)
	}
	if p.Keys {
		b[flags] |= withKeys
	}
	return b
}

func appendKeyFields(b []byte, flags int, p APIKeyRotated, at int64) []byte {
	b[flags] = ofKey
	b = appendID(b, p.KeyID)
	if p.Successor != "" {
		b[flags] |= withSuccessor
		b = appendID(b, p.Successor)
	}
	if p.NotAfter != nil {
		b[flags] |= withNotAfter
		b = binary.AppendVarint(b, *p.NotAfter-at)
	}
	if p.Suspended != nil {
		b[flags] |= withSuspended
		if *p.Suspended {
			b[flags] |= isSuspended
		}
		b = binary.AppendVarint(b, p.KV-at)
	}
	return b
}

// appendID appends an id that was scanned, and so is valid.
func appendID(b []byte, s string) []byte {
	id, _ := ParseID(s)
	return append(b, id[:]...)
}

// pageDecoder reads what follows. The first thing that isn't there ends it: bad is set, and everything is zero from then on.
type pageDecoder struct {
	rest  []byte
	times times
	bad   bool
	made  []byte // the bytes of the last event
}

// event reads one record. The bytes are valid until the next call.
func (d *pageDecoder) event(seq uint64) (Event, []byte, error) {
	flags := d.byte()
	kind := flags & kindOfByte
	if kind >= kinds || flags&^kindOfByte&^allowed[min(kind, kinds-1)] != 0 {
		return Event{}, nil, fmt.Errorf("%w: record of kind %#x", ErrInvalid, flags)
	}
	if kind == asIs {
		return d.eventAsIs(seq)
	}
	d.times.at += d.varint()
	d.times.life += d.varint()
	e := Event{Seq: seq, At: d.times.at, Until: d.times.at + d.times.life}
	if kind == ofKey {
		e.Payload = d.key(flags, e.At)
	} else {
		e.Payload = d.revoked(kind, flags, e.At)
	}
	if d.bad || e.At <= 0 || e.Until < e.At {
		return Event{}, nil, fmt.Errorf("%w: record cut short, or its times", ErrInvalid)
	}
	if err := validFields(e.Payload); err != nil {
		return Event{}, nil, err
	}
	d.made = appendEvent(d.made[:0], e)
	if len(d.made) > MaxEventSize {
		return Event{}, nil, fmt.Errorf("%w: event of %d bytes", ErrInvalid, len(d.made))
	}
	return e, d.made, nil
}

func (d *pageDecoder) eventAsIs(seq uint64) (Event, []byte, error) {
	raw := d.take(int(min(d.uvarint(), MaxEventSize+1)))
	if d.bad {
		return Event{}, nil, fmt.Errorf("%w: record cut short", ErrInvalid)
	}
	e, err := DecodeEvent(raw)
	if err == nil && e.Seq != seq {
		err = fmt.Errorf("%w: it says seq %d", ErrInvalid, e.Seq)
	}
	e.Raw = nil
	return e, raw, err
}

// validFields is the payload's validate but for the ids, which are valid in any binary form.
func validFields(p Payload) error {
	switch p := p.(type) {
	case TokenRevoked:
		if byUser := p.UserID != "" || len(p.UserIDs) > 0; byUser != (p.TV > 0) || (p.JTI == "" && p.SessionID == "" && !byUser && p.Before <= 0) {
			return fmt.Errorf("%w: tv or before", ErrInvalid)
		}
	case APIKeyRotated:
		if (p.NotAfter == nil && p.Suspended == nil) || (p.Suspended != nil) != (p.KV > 0) {
			return fmt.Errorf("%w: not_after, suspended or kv", ErrInvalid)
		}
	}
	return nil
}

func (d *pageDecoder) revoked(kind, flags byte, at int64) TokenRevoked {
	p := TokenRevoked{Keys: flags&withKeys != 0}
	switch kind {
	case ofToken:
		p.JTI = d.id().String()
	case ofSession:
		p.SessionID = d.id().String()
	case ofUser:
		p.UserID, p.TV = d.id().String(), d.varint()+at
	case ofUsers:
		n := d.uvarint()
		if n > uint64(len(d.rest)/len(ID{})) {
			d.bad = true
			return p
		}
		p.UserIDs = make([]string, n)
		for i := range p.UserIDs {
			p.UserIDs[i] = d.id().String()
		}
		p.TV = d.varint() + at
	case ofBefore:
		p.Before = d.varint() + at/1000
	}
	return p
}

func (d *pageDecoder) key(flags byte, at int64) APIKeyRotated {
	p := APIKeyRotated{KeyID: d.id().String()}
	if flags&withSuccessor != 0 {
		p.Successor = d.id().String()
	}
	if flags&withNotAfter != 0 {
		end := d.varint() + at
		p.NotAfter = &end
	}
	if flags&withSuspended != 0 {
		suspended := flags&isSuspended != 0
		p.Suspended, p.KV = &suspended, d.varint()+at
	} else if flags&isSuspended != 0 {
		d.bad = true
	}
	return p
}

func (d *pageDecoder) take(n int) []byte {
	if n > len(d.rest) {
		d.bad, d.rest = true, nil
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *pageDecoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *pageDecoder) id() (id ID) {
	copy(id[:], d.take(len(id)))
	return id
}

func (d *pageDecoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	d.skip(n)
	return v
}

func (d *pageDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	d.skip(n)
	return v
}

// skip passes over what binary has read; n is not positive if there was nothing to read.
func (d *pageDecoder) skip(n int) {
	if n <= 0 {
		d.bad, d.rest = true, nil
		return
	}
	d.rest = d.rest[n:]
}

// appendEvent appends the bytes that [EncodeEvent] makes of an event whose payload a record can have.
func appendEvent(b []byte, e Event) []byte {
	b = strconv.AppendUint(append(b, `{"seq":`...), e.Seq, 10)
	b = append(append(append(b, `,"type":"`...), e.Payload.Type()...), `","at":`...)
	b = strconv.AppendInt(b, e.At, 10)
	b = strconv.AppendInt(append(b, `,"until":`...), e.Until, 10)
	switch p := e.Payload.(type) {
	case TokenRevoked:
		b = appendRevoked(b, p)
	case APIKeyRotated:
		b = appendKey(b, p)
	}
	return append(b, '}')
}

func appendRevoked(b []byte, p TokenRevoked) []byte {
	switch {
	case p.JTI != "":
		return appendText(b, `,"jti":"`, p.JTI)
	case p.SessionID != "":
		return appendText(b, `,"session_id":"`, p.SessionID)
	case p.UserID != "":
		b = appendNumber(appendText(b, `,"user_id":"`, p.UserID), `,"tv":`, p.TV)
	case len(p.UserIDs) > 0:
		open := `,"user_ids":["`
		for _, id := range p.UserIDs {
			b, open = appendText(b, open, id), `,"`
		}
		b = appendNumber(append(b, ']'), `,"tv":`, p.TV)
	default:
		b = appendNumber(b, `,"before":`, p.Before)
	}
	if p.Keys {
		b = append(b, `,"keys":true`...)
	}
	return b
}

func appendKey(b []byte, p APIKeyRotated) []byte {
	b = appendText(b, `,"key_id":"`, p.KeyID)
	if p.Successor != "" {
		b = appendText(b, `,"successor":"`, p.Successor)
	}
	if p.NotAfter != nil {
		b = appendNumber(b, `,"not_after":`, *p.NotAfter)
	}
	if p.Suspended != nil {
		b = strconv.AppendBool(append(b, `,"suspended":`...), *p.Suspended)
		b = appendNumber(b, `,"kv":`, p.KV)
	}
	return b
}

func appendText(b []byte, open, text string) []byte {
	return append(append(append(b, open...), text...), '"')
}

func appendNumber(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(b, name...), n, 10)
}
