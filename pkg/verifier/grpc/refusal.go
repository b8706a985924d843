package verifiergrpc

import (
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

const (
	// Domain is that of the ErrorInfo of refusals.
	Domain = "tocsin"
	// Trailer is the metadata that has the code of the refusal by which a stream has ended.
	Trailer = "tocsin-code"
)

// Refusal returns the status for an error of [verifier.Verifier.Verify] or [verifier.Alive]. One of another kind becomes
// Unavailable, and tells nothing of it.
func Refusal(err error) error {
	code := verifier.CodeOf(err)
	if code == "" {
		err, code = verifier.ErrAuthUnavailable, verifier.CodeAuthUnavailable
	}
	return refusal(grpcCode(code), code, verifier.TextOf(err), verifier.RetryAfter(err))
}

// What the guard refuses by itself.
var (
	errNoRoute = refusal(codes.PermissionDenied, verifier.CodeForbidden, "no route leads to the method", 0)
	// errEndless is the server's fault: the stream would outlive its credential.
	errEndless = status.Error(codes.Internal, "the guard can't end this stream: its Tap or its Handler is missing")
)

func refusal(c codes.Code, code verifier.Code, text string, retry time.Duration) error {
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: string(code), Domain: Domain}}
	if retry > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(retry)})
	}
	s := status.New(c, text)
	if with, err := s.WithDetails(details...); err == nil { // it can't fail: the code isn't OK, and the messages are known
		s = with
	}
	return s.Err()
}

// grpcCode is the one place that maps refusals to gRPC. What is unknown fails closed, and as our failure.
func grpcCode(code verifier.Code) codes.Code {
	switch code {
	case verifier.CodeMissingCredential, verifier.CodeInvalidRequest, verifier.CodeMalformed, verifier.CodeInvalidToken,
		verifier.CodeExpired, verifier.CodeRevoked, verifier.CodeUnknownKey, verifier.CodeWrongAudience, verifier.CodeWrongMode:
		return codes.Unauthenticated
	case verifier.CodeForbidden:
		return codes.PermissionDenied
	case verifier.CodeQuotaExceeded:
		return codes.ResourceExhausted
	}
	return codes.Unavailable
}
