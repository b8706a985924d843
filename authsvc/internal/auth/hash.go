package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/tocsin-auth/tocsin/authsvc/internal/defect"
)

// argonParams are the costs of one hash, stored with it.
type argonParams struct {
	memory uint32 // KiB
	time   uint32
	lanes  uint8
}

// currentParams is what new hashes use; older ones are replaced at the next login (OWASP's minimum for argon2id).
var currentParams = argonParams{memory: 19456, time: 2, lanes: 1}

func hashParams() argonParams {
	if defect.CheapHashes {
		return argonParams{memory: 8, time: 1, lanes: 1}
	}
	return currentParams
}

const (
	saltLength = 16
	hashLength = 32
	// hashPatience is how long a caller may wait for a free slot.
	hashPatience = 5 * time.Second
)

var errBadHash = errors.New("stored password hash is malformed")

// hasher makes and verifies argon2id hashes in PHC form. At most as many run at once as there are processors, so that
// a flood of logins can't take the memory.
type hasher struct {
	params argonParams
	slots  chan struct{}
	// dummy is verified in place of the hash that an unknown user doesn't have.
	dummy string
}

func newHasher(params argonParams) *hasher {
	h := &hasher{params: params, slots: make(chan struct{}, max(2, runtime.GOMAXPROCS(0)))}
	h.dummy = encodePHC(params, randomBytes(saltLength), randomBytes(hashLength))
	return h
}

// Hashing returns how many password hashes are being computed now.
func (s *Service) Hashing() int { return len(s.hasher.slots) }

// hash returns the PHC string of a password. The error is [ErrThrottled] or the context's.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := randomBytes(saltLength)
	sum, err := h.derive(ctx, password, salt, h.params, hashLength)
	if err != nil {
		return "", err
	}
	return encodePHC(h.params, salt, sum), nil
}

// verify compares a password with a PHC string and reports whether the string was made with other costs than today's.
func (h *hasher) verify(ctx context.Context, phc, password string) (ok, stale bool, err error) {
	params, salt, want, err := decodePHC(phc)
	if err != nil {
		return false, false, err
	}
	got, err := h.derive(ctx, password, salt, params, uint32(len(want)))
	if err != nil {
		return false, false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1, params != h.params, nil
}

// verifyNobody does the work of verify for a user who doesn't exist.
func (h *hasher) verifyNobody(ctx context.Context, password string) error {
	_, _, err := h.verify(ctx, h.dummy, password)
	return err
}

// derive normalises the password (SP 800-63B: NFC), so that the same text typed on another system gives the same hash.
func (h *hasher) derive(ctx context.Context, password string, salt []byte, p argonParams, length uint32) ([]byte, error) {
	if err := h.acquire(ctx); err != nil {
		return nil, err
	}
	defer func() { <-h.slots }()
	return argon2.IDKey(norm.NFC.Bytes([]byte(password)), salt, p.time, p.memory, p.lanes, length), nil
}

func (h *hasher) acquire(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	patience := time.NewTimer(hashPatience)
	defer patience.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-patience.C:
		return ErrThrottled
	case <-ctx.Done():
		return ctx.Err()
	}
}

func encodePHC(p argonParams, salt, sum []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.lanes,
		b64.EncodeToString(salt), b64.EncodeToString(sum))
}

// decodePHC bounds the costs too: a damaged row must not take the machine down.
func decodePHC(phc string) (p argonParams, salt, sum []byte, err error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, nil, nil, errBadHash
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.lanes); err != nil || n != 3 {
		return p, nil, nil, errBadHash
	}
	if p.memory > 1<<20 || p.time == 0 || p.time > 16 || p.lanes == 0 {
		return p, nil, nil, errBadHash
	}
	b64 := base64.RawStdEncoding.Strict()
	if salt, err = b64.DecodeString(parts[4]); err != nil || len(salt) < 8 {
		return p, nil, nil, errBadHash
	}
	if sum, err = b64.DecodeString(parts[5]); err != nil || len(sum) < 16 || len(sum) > 64 {
		return p, nil, nil, errBadHash
	}
	return p, salt, sum, nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
