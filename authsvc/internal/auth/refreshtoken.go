package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// Refresh tokens are tcr_ and 256 bits in base64url. The database holds their SHA-256 only. A successor is derived from
// its predecessor under a secret that the replicas share, so that any of them can give the same one again within the
// grace period although none has stored it.
const refreshPrefix = "tcr_"

func newRefreshToken() string {
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(randomBytes(32))
}

// successorOf returns the one refresh token that follows another.
func successorOf(secret []byte, token string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(token))
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// looksLikeRefreshToken checks the shape, offline.
func looksLikeRefreshToken(s string) bool {
	body, ok := strings.CutPrefix(s, refreshPrefix)
	if !ok || len(body) != 43 {
		return false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(body)
	return err == nil
}

// hashSecret is what the database knows of a refresh token or an API key.
func hashSecret(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}
