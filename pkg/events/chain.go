package events

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// Hash is a SHA-256 value; on the wire 64 lower-case hexadecimal digits.
type Hash [sha256.Size]byte

// ChainStart is chain(0) of an epoch: SHA-256(issuer ‖ epoch).
func ChainStart(issuer, epoch string) Hash {
	return sha256.Sum256([]byte(issuer + epoch))
}

// Next returns the chain after one more event: SHA-256(chain ‖ event bytes).
func (h Hash) Next(event []byte) Hash {
	d := sha256.New()
	d.Write(h[:])
	d.Write(event)
	return Hash(d.Sum(nil))
}

// HashOf returns the hash of some bytes, as answers carry that of their request.
func HashOf(b []byte) Hash { return sha256.Sum256(b) }

// KeySetHash identifies a set of token keys by their kids, which are RFC 7638 thumbprints and so bind the keys.
func KeySetHash(kids []string) Hash {
	sorted := slices.Sorted(slices.Values(kids))
	d := sha256.New()
	for _, kid := range sorted {
		fmt.Fprintf(d, "%s\n", kid)
	}
	return Hash(d.Sum(nil))
}

// String returns the hexadecimal form.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; upper case is refused.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("%w: hash", ErrInvalid)
	}
	for i := range h {
		hi, lo := hexValues[text[2*i]], hexValues[text[2*i+1]]
		if hi|lo > 0x0f {
			return fmt.Errorf("%w: hash", ErrInvalid)
		}
		h[i] = hi<<4 | lo
	}
	return nil
}
