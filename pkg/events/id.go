package events

import (
	"encoding/hex"
	"fmt"
)

// ID is a UUID in binary form, the key of every revocation look-up.
type ID [16]byte

// ParseID reads the canonical lower-case form of a UUID and nothing else, so that one id has one spelling.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, fmt.Errorf("%w: not a UUID", ErrInvalid)
	}
	var wrong byte
	for n, at := range places {
		hi, lo := hexValues[s[at]], hexValues[s[at+1]]
		wrong |= hi | lo
		id[n] = hi<<4 | lo&0x0f
	}
	if wrong > 0x0f {
		return ID{}, fmt.Errorf("%w: not a UUID", ErrInvalid)
	}
	return id, nil
}

// places are where the two digits of each byte begin.
var places = [16]uint8{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34}

// hexValues are those of lower-case digits, and 0xff for every other byte. A table, as a message can have thousands of ids.
var hexValues = func() (values [256]byte) {
	for c := range values {
		values[c] = 0xff
	}
	for value, c := range []byte("0123456789abcdef") {
		values[c] = byte(value)
	}
	return values
}()

// String returns the canonical form.
func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[:8], id[:4])
	b[8] = '-'
	hex.Encode(b[9:13], id[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], id[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], id[8:10])
	b[23] = '-'
	hex.Encode(b[24:], id[10:])
	return string(b[:])
}

// IsZero reports whether the id is absent.
func (id ID) IsZero() bool { return id == ID{} }

// Millis returns the creation time of a UUIDv7 in milliseconds since 1970 UTC. For other versions it is meaningless.
func (id ID) Millis() int64 {
	return int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
}

// IsV7 reports whether the id is a UUIDv7, so that Millis means something.
func (id ID) IsV7() bool { return id[6]>>4 == 7 && id[8]>>6 == 2 }

func validIDs(ids ...string) error {
	for _, s := range ids {
		if s == "" {
			continue
		}
		if _, err := ParseID(s); err != nil {
			return err
		}
	}
	return nil
}
