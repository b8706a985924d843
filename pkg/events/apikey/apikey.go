// Package apikey is the format of API keys: tcs_live_<base62> or tcs_test_<base62>, whose last six characters are the
// CRC-32 (IEEE) of all characters before them, in base62, zero-padded. The checksum lets anyone drop mistyped and
// invented keys without asking; it proves nothing.
package apikey

import (
	"crypto/rand"
	"errors"
	"hash/crc32"
	"math/big"
	"strings"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Pattern is the regular expression that secret scanners look for.
const Pattern = `tcs_(live|test)_[0-9A-Za-z]{49}`

const (
	alphabet     = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	prefixLength = len("tcs_live_")
	secretLength = 43 // 256 bits in base62
	crcLength    = 6
	// Length is that of every key, in bytes.
	Length = prefixLength + secretLength + crcLength
	// ShownPrefix is how many leading characters lists may show.
	ShownPrefix = prefixLength + 6
)

// ErrMalformed means that a string can't be an API key.
var ErrMalformed = errors.New("malformed API key")

// New makes a key of 256 random bits.
func New(mode events.Mode) string {
	var secret [32]byte
	rand.Read(secret[:])
	body := "tcs_" + string(mode) + "_" + base62(new(big.Int).SetBytes(secret[:]), secretLength)
	return body + checksum(body)
}

// Parse checks shape and checksum offline and returns the mode that the key claims.
func Parse(key string) (events.Mode, error) {
	if len(key) != Length || !strings.HasPrefix(key, "tcs_") || key[prefixLength-1] != '_' {
		return "", ErrMalformed
	}
	mode := events.Mode(key[4 : prefixLength-1])
	if mode != events.ModeLive && mode != events.ModeTest {
		return "", ErrMalformed
	}
	for i := prefixLength; i < Length; i++ {
		if strings.IndexByte(alphabet, key[i]) < 0 {
			return "", ErrMalformed
		}
	}
	if checksum(key[:Length-crcLength]) != key[Length-crcLength:] {
		return "", ErrMalformed
	}
	return mode, nil
}

func checksum(body string) string {
	return base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), crcLength)
}

// base62 returns n in exactly width digits, most significant first.
func base62(n *big.Int, width int) string {
	out := make([]byte, width)
	base, digit := big.NewInt(int64(len(alphabet))), new(big.Int)
	n = new(big.Int).Set(n)
	for i := width - 1; i >= 0; i-- {
		n.DivMod(n, base, digit)
		out[i] = alphabet[digit.Int64()]
	}
	return string(out)
}
