package verifier

import (
	"errors"

	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/link"
)

// ErrConfig is wrapped by every error of [New], [Verifier.Route] and their options.
var ErrConfig = link.ErrConfig

// Code is the stable name of a refusal, as problem+json answers carry it.
type Code string

// The codes of all refusals.
const (
	CodeMissingCredential Code = "missing_credential"
	CodeInvalidRequest    Code = "invalid_request"
	CodeMalformed         Code = "malformed"
	CodeInvalidToken      Code = "invalid_token"
	CodeExpired           Code = "expired"
	CodeRevoked           Code = "revoked"
	CodeUnknownKey        Code = "unknown_key"
	CodeWrongAudience     Code = "wrong_audience"
	CodeWrongMode         Code = "wrong_mode"
	CodeForbidden         Code = "forbidden"
	CodeQuotaExceeded     Code = "quota_exceeded"
	CodeStale             Code = "stale"
	CodeAuthUnavailable   Code = "auth_unavailable"
)

// refusal is a sentinel. Its text is for people and holds nothing that a caller sent.
type refusal struct {
	code Code
	text string
}

func (r *refusal) Error() string { return r.text }

// The refusals. Errors of this package wrap exactly one of them, or [ErrConfig].
var (
	// ErrMissingCredential: there is no Authorization header, or one of a scheme other than Bearer and Api-Key.
	ErrMissingCredential error = &refusal{CodeMissingCredential, "no credential was sent"}
	// ErrInvalidRequest: the header is repeated, empty or holds more than one credential (RFC 6750, section 3.1).
	ErrInvalidRequest error = &refusal{CodeInvalidRequest, "the credential was not sent in the one accepted way"}
	// ErrMalformed: no token or key looks like that.
	ErrMalformed error = &refusal{CodeMalformed, "the credential is malformed"}
	// ErrInvalidToken: signature, issuer, key, algorithm, type or a claim is wrong, or the token isn't valid yet.
	ErrInvalidToken error = &refusal{CodeInvalidToken, "the token is not valid"}
	// ErrExpired: the credential was good once.
	ErrExpired error = &refusal{CodeExpired, "the credential has expired"}
	// ErrRevoked: the credential, one that it was derived from, or its user was cut off.
	ErrRevoked error = &refusal{CodeRevoked, "the credential was revoked"}
	// ErrUnknownKey: authsvc knows no such API key.
	ErrUnknownKey error = &refusal{CodeUnknownKey, "the API key is not known"}
	// ErrWrongAudience: the token is for another audience.
	ErrWrongAudience error = &refusal{CodeWrongAudience, "the token is for another audience"}
	// ErrWrongMode: a test credential at a live service, or the reverse.
	ErrWrongMode error = &refusal{CodeWrongMode, "the credential is of the other mode, live or test"}
	// ErrForbidden: the credential is good but lacks a role that the route requires.
	ErrForbidden error = &refusal{CodeForbidden, "the credential lacks a required role"}
	// ErrQuotaExceeded: the user has used up what the plan allows.
	ErrQuotaExceeded error = &refusal{CodeQuotaExceeded, "the quota is used up"}
	// ErrStale: the verifier can't prove that its knowledge is young enough for the route.
	ErrStale error = &refusal{CodeStale, "revocations can't be checked right now"}
	// ErrAuthUnavailable: authsvc had to be asked and gave no valid answer in time.
	ErrAuthUnavailable error = &refusal{CodeAuthUnavailable, "the auth service can't be asked right now"}
)

// CodeOf returns the code of a refusal of this package, or "" for other errors and nil.
func CodeOf(err error) Code {
	if r := refusalOf(err); r != nil {
		return r.code
	}
	return ""
}

// TextOf returns the text of a refusal of this package, which may be shown to its caller, or "" for other errors and nil.
func TextOf(err error) string {
	if r := refusalOf(err); r != nil {
		return r.text
	}
	return ""
}

func refusalOf(err error) *refusal {
	if err == nil {
		return nil
	}
	if r, ok := err.(*refusal); ok {
		return r
	}
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	return nil
}
