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
	n := 0
	for i := 0; i < 36; {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			i++
			continue
		}
		hi, lo := fromHex(s[i]), fromHex(s[i+1])
		if hi|lo > 0x0f {
			return ID{}, fmt.Errorf("%w: not a UUID", ErrInvalid)
		}
		id[n] = hi<<4 | lo
		n++
		i += 2
	}
	return id, nil
}

func fromHex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

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
