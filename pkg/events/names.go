package events

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// The stream that keeps the feed for those that catch up, and its subjects.
const (
	StreamName     = "TOCSIN"
	StreamSubjects = "tocsin.v1.feed.>"
	LiveSubjects   = "tocsin.v1.live.>"
	// SubjectNudge tells the dispatcher that a row was committed.
	SubjectNudge = "tocsin.v1.nudge"
	// SubjectDirectGet is the stream's batch read; a service's account maps it to SubjectStreamGet.
	SubjectDirectGet = "$JS.API.DIRECT.GET.TOCSIN"
	SubjectStreamGet = "tocsin.v1.stream.get"
)

// QueueGroup is what the responders of all authsvc replicas share.
const QueueGroup = "authsvc"

// FeedSubject is where the stream takes events of a type.
func FeedSubject(t Type) string { return "tocsin.v1.feed." + string(t) }

// LiveSubject is where listening verifiers take events of a type.
func LiveSubject(t Type) string { return "tocsin.v1.live." + string(t) }

// The subjects of one resource service's questions. The name MUST have passed [ValidService].
func ProofSubject(service string) string    { return "tocsin.v1.proof." + service }
func CheckSubject(service string) string    { return "tocsin.v1.check." + service }
func ResolveSubject(service string) string  { return "tocsin.v1.resolve." + service }
func SnapshotSubject(service string) string { return "tocsin.v1.snapshot." + service }
func KeysSubject(service string) string     { return "tocsin.v1.keys." + service }
func QuotaSubject(service string) string    { return "tocsin.v1.quota." + service }

// UsedSubject is where a service tells, without waiting for an answer, which API keys were used.
func UsedSubject(service string) string { return "tocsin.v1.used." + service }

// ValidService reports whether a name may become part of a subject: [a-z0-9_-]{1,32}.
func ValidService(name string) bool {
	if len(name) == 0 || len(name) > 32 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// ValidReply reports whether a service may be answered on a subject that it named. It refuses those by which a service would have
// authsvc write where only authsvc may. The accounts prevent that too; a NATS without accounts doesn't.
func ValidReply(subject string) bool {
	return subject != "" && !strings.HasPrefix(subject, "tocsin.") && !strings.HasPrefix(subject, "$")
}

// ValidText reports whether a free text is valid UTF-8 of 1 to 256 bytes without control characters.
func ValidText(s string) bool {
	if s == "" || len(s) > 256 || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f {
			return false
		}
	}
	return true
}

// NewNonce draws 128 random bits.
func NewNonce() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// ValidNonce reports whether s has the form that [NewNonce] gives.
func ValidNonce(s string) bool {
	if len(s) != 32 {
		return false
	}
	for i := range len(s) {
		if hexValues[s[i]] > 0x0f {
			return false
		}
	}
	return true
}
