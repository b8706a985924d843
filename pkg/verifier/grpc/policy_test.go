package verifiergrpc_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	verifiergrpc "github.com/tocsin-auth/tocsin/pkg/verifier/grpc"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiertest"
)

func TestBadPoliciesAreNamed(t *testing.T) {
	v := verifiertest.New(t).Verifier
	for name, p := range map[string]verifiergrpc.Policy{
		"a bad role":          {Methods: map[string][]verifier.RouteOption{"/a.B/C": {verifier.Role("No Role")}}},
		"a bad default":       {Default: []verifier.RouteOption{verifier.Role("")}},
		"no slash":            {Public: []string{"a.B/C"}},
		"no service":          {Public: []string{"//C"}},
		"a path":              {Methods: map[string][]verifier.RouteOption{"/a/b/c": nil}},
		"public and with one": {Public: []string{"/a.B/C"}, Methods: map[string][]verifier.RouteOption{"/a.B/C": nil}},
	} {
		if _, err := verifiergrpc.New(v, p); !errors.Is(err, verifier.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAPolicyIsCheckedAgainstItsServer(t *testing.T) {
	s := &stage{t: t}
	server := grpc.NewServer()
	s.register(server)
	check := func(p verifiergrpc.Policy) error {
		guard, err := verifiergrpc.New(verifiertest.New(t).Verifier, p)
		if err != nil {
			t.Fatal(err)
		}
		return guard.Check(server)
	}
	complete := verifiergrpc.Policy{
		Public:  []string{"/grpc.health.v1.Health/", "/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/"},
		Methods: map[string][]verifier.RouteOption{"/test.Cars/": nil, "/test.Cars/Buy": {verifier.Elite()}, "/test.Boats/List": nil},
	}
	if err := check(complete); err != nil {
		t.Error(err)
	}
	if err := check(verifiergrpc.Policy{Default: []verifier.RouteOption{}}); err != nil {
		t.Error(err)
	}
	err := check(verifiergrpc.Policy{Methods: map[string][]verifier.RouteOption{"/test.Cars/": nil, "/test.Cars/buy": {verifier.Elite()}}})
	for _, want := range []string{"/test.Cars/buy is not of this server", "/test.Boats/List is named nowhere", "/grpc.health.v1.Health/Check is named"} {
		if !errors.Is(err, verifier.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v doesn't say %q", err, want)
		}
	}
}

func TestEveryRefusalHasItsStatus(t *testing.T) {
	for code, errs := range map[codes.Code][]error{
		codes.Unauthenticated: {verifier.ErrMissingCredential, verifier.ErrInvalidRequest, verifier.ErrMalformed, verifier.ErrInvalidToken,
			verifier.ErrExpired, verifier.ErrRevoked, verifier.ErrUnknownKey, verifier.ErrWrongAudience, verifier.ErrWrongMode},
		codes.PermissionDenied:  {verifier.ErrForbidden},
		codes.ResourceExhausted: {verifier.ErrQuotaExceeded},
		codes.Unavailable:       {verifier.ErrStale, verifier.ErrAuthUnavailable},
	} {
		for _, err := range errs {
			refused(t, verifiergrpc.Refusal(err), code, verifier.CodeOf(err))
		}
	}
}

func TestErrorsOfAnotherKindTellNothing(t *testing.T) {
	err := verifiergrpc.Refusal(errors.New("a secret"))
	refused(t, err, codes.Unavailable, verifier.CodeAuthUnavailable)
	if got := status.Convert(err).Message(); got != verifier.TextOf(verifier.ErrAuthUnavailable) {
		t.Error(got)
	}
}
