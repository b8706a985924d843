package auth

import "fmt"

// Code is the stable, machine-readable name of a refusal. The HTTP status belongs to httpapi.
type Code string

// The codes that the domain gives.
const (
	CodeInvalidRequest      Code = "invalid_request"
	CodeUnauthenticated     Code = "unauthenticated"
	CodeForbidden           Code = "forbidden"
	CodeNotFound            Code = "not_found"
	CodeConflict            Code = "conflict"
	CodeUsernameTaken       Code = "username_taken"
	CodeWeakPassword        Code = "weak_password"
	CodeInvalidCredentials  Code = "invalid_credentials"
	CodeInvalidRefreshToken Code = "invalid_refresh_token"
	CodeLastAdmin           Code = "last_admin"
	CodeThrottled           Code = "throttled"
	CodeUnavailable         Code = "unavailable"

	// Of the token endpoint alone (RFC 6749, section 5.2; RFC 8693, section 2.2.2).
	CodeInvalidGrant       Code = "invalid_grant"
	CodeInvalidScope       Code = "invalid_scope"
	CodeInvalidTarget      Code = "invalid_target"
	CodeUnauthorizedClient Code = "unauthorized_client"
)

// Error is a refusal that the caller may read. Message and Field never hold a value that the caller sent.
type Error struct {
	Code    Code
	Message string
	// Field names the input that is wrong, as the contract spells it, or is empty.
	Field string
}

// Error returns code, field and message.
func (e *Error) Error() string {
	if e.Field != "" {
		return fmt.Sprintf("%s: %s: %s", e.Code, e.Field, e.Message)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Is makes every error with the same code match, so that errors.Is(err, ErrNotFound) holds whatever the text.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// The refusals, for errors.Is.
var (
	ErrInvalidRequest      = &Error{Code: CodeInvalidRequest, Message: "the request is not valid"}
	ErrUnauthenticated     = &Error{Code: CodeUnauthenticated, Message: "a valid credential is required"}
	ErrForbidden           = &Error{Code: CodeForbidden, Message: "the credential doesn't allow this"}
	ErrNotFound            = &Error{Code: CodeNotFound, Message: "there is no such object"}
	ErrConflict            = &Error{Code: CodeConflict, Message: "the object is in a state that doesn't allow this"}
	ErrUsernameTaken       = &Error{Code: CodeUsernameTaken, Message: "the username is taken"}
	ErrWeakPassword        = &Error{Code: CodeWeakPassword, Message: "the password is too easy to guess"}
	ErrInvalidCredentials  = &Error{Code: CodeInvalidCredentials, Message: "username or password is wrong"}
	ErrInvalidRefreshToken = &Error{Code: CodeInvalidRefreshToken, Message: "the refresh token is not valid"}
	ErrLastAdmin           = &Error{Code: CodeLastAdmin, Message: "the last admin can't be removed, disabled or demoted"}
	ErrThrottled           = &Error{Code: CodeThrottled, Message: "too many attempts at once; try again"}
	ErrUnavailable         = &Error{Code: CodeUnavailable, Message: "the service can't do this now; try again"}
	ErrInvalidGrant        = &Error{Code: CodeInvalidGrant, Message: "the job grant is dead: it has expired, or what it rests on was ended"}
	ErrInvalidScope        = &Error{Code: CodeInvalidScope, Message: "the scope is more than subject and client may have together"}
	ErrInvalidTarget       = &Error{Code: CodeInvalidTarget, Message: "no token is issued for this audience"}
	ErrUnauthorizedClient  = &Error{Code: CodeUnauthorizedClient, Message: "the client may not do this"}
)

// invalid refuses one field. The message says the rule and never the value.
func invalid(field, rule string) *Error {
	return &Error{Code: CodeInvalidRequest, Field: field, Message: rule}
}
