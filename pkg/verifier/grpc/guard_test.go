package verifiergrpc_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	verifiergrpc "github.com/tocsin-auth/tocsin/pkg/verifier/grpc"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiertest"
)

func TestHandlersHaveThePrincipal(t *testing.T) {
	for name, carry := range carriers {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, policy, carry)
			s.chat = func(ss grpc.ServerStream) error {
				p, _ := verifier.FromContext(ss.Context())
				return status.Error(codes.AlreadyExists, p.Subject)
			}
			for _, c := range []verifiertest.Caller{s.issuer.Token(verifier.Principal{}), s.issuer.Key(verifier.Principal{})} {
				for _, method := range []string{"List", "Buy", "Poll"} {
					if got, err := s.call("/test.Cars/"+method, c.Authorization()); err != nil || got != c.Subject {
						t.Errorf("%s: %q, %v", method, got, err)
					}
				}
				if _, err := receive(s.open(c.Authorization())); status.Convert(err).Message() != c.Subject {
					t.Error(err)
				}
			}
		})
	}
}

// refusals are what a caller may do wrong, on a method and in a stream that require the role user.
func refusals(i *verifiertest.Issuer) map[string]refusalCase {
	token, key := i.Token(verifier.Principal{}), i.Key(verifier.Principal{})
	revoked := i.Token(verifier.Principal{})
	i.Revoke(revoked)
	return map[string]refusalCase{
		"nothing":        {nil, codes.Unauthenticated, verifier.CodeMissingCredential},
		"another scheme": {[]string{"Basic x"}, codes.Unauthenticated, verifier.CodeMissingCredential},
		"empty":          {[]string{""}, codes.Unauthenticated, verifier.CodeInvalidRequest},
		"scheme only":    {[]string{"Bearer"}, codes.Unauthenticated, verifier.CodeInvalidRequest},
		"repeated":       {[]string{token.Authorization(), token.Authorization()}, codes.Unauthenticated, verifier.CodeInvalidRequest},
		"good and empty": {[]string{token.Authorization(), ""}, codes.Unauthenticated, verifier.CodeInvalidRequest},
		"two methods":    {[]string{token.Authorization(), key.Authorization()}, codes.Unauthenticated, verifier.CodeInvalidRequest},
		"two in one":     {[]string{token.Authorization() + ", " + key.Authorization()}, codes.Unauthenticated, verifier.CodeInvalidRequest},
		"malformed":      {[]string{"Api-Key short"}, codes.Unauthenticated, verifier.CodeMalformed},
		"swapped":        {[]string{"Bearer " + key.Secret}, codes.Unauthenticated, verifier.CodeMalformed},
		"forged":         {[]string{token.Authorization()[:len(token.Authorization())-8] + "AAAAAAAA"}, codes.Unauthenticated, verifier.CodeInvalidToken},
		"revoked":        {[]string{revoked.Authorization()}, codes.Unauthenticated, verifier.CodeRevoked},
		"expired": {[]string{i.Token(verifier.Principal{Expires: i.Now().Add(-time.Hour)}).Authorization()},
			codes.Unauthenticated, verifier.CodeExpired},
		"other mode": {[]string{i.Token(verifier.Principal{Mode: verifier.ModeTest}).Authorization()},
			codes.Unauthenticated, verifier.CodeWrongMode},
		"no role": {[]string{i.Token(verifier.Principal{Roles: []string{"dealer"}}).Authorization()},
			codes.PermissionDenied, verifier.CodeForbidden},
	}
}

type refusalCase struct {
	authorization []string
	code          codes.Code
	reason        verifier.Code
}

func TestCallsAndStreamsAreRefusedAsInHTTP(t *testing.T) {
	for carried, carry := range carriers {
		t.Run(carried, func(t *testing.T) {
			s := newStage(t, policy, carry)
			s.once = func(context.Context) (string, error) { t.Error("reached"); return "", nil }
			s.chat = func(grpc.ServerStream) error { t.Error("reached"); return nil }
			for name, c := range refusals(s.issuer) {
				t.Run(name, func(t *testing.T) {
					for _, method := range []string{"List", "Buy"} {
						_, err := s.call("/test.Cars/"+method, c.authorization...)
						refused(t, err, c.code, c.reason)
					}
					_, err := receive(s.open(c.authorization...))
					refused(t, err, c.code, c.reason)
				})
			}
		})
	}
}

func TestEveryRefusalIsCounted(t *testing.T) {
	s := newStage(t, policy, overGRPC)
	s.call("/test.Cars/List")
	s.call("/test.Cars/List", "Bearer")
	s.call("/test.Boats/List")
	receive(s.open("Api-Key short"))
	got := s.issuer.Verifier.Stats().Refused
	for _, code := range []verifier.Code{verifier.CodeMissingCredential, verifier.CodeInvalidRequest, verifier.CodeForbidden, verifier.CodeMalformed} {
		if got[code] != 1 {
			t.Errorf("%s: %d", code, got[code])
		}
	}
}

func TestWhatWaitingHelpsAgainstSaysSo(t *testing.T) {
	s := newStage(t, policy, overGRPC)
	alice := s.issuer.Token(verifier.Principal{}).Authorization()
	s.issuer.GoStale()
	_, err := s.call("/test.Cars/List", alice)
	refused(t, err, codes.Unavailable, verifier.CodeStale)
	_, err = receive(s.open(alice))
	refused(t, err, codes.Unavailable, verifier.CodeStale)
	for _, asking := range []string{"Buy", "Old"} {
		if _, err := s.call("/test.Cars/"+asking, alice); err != nil {
			t.Error(err)
		}
	}
	s.issuer.StopAuth()
	_, err = s.call("/test.Cars/Buy", alice)
	refused(t, err, codes.Unavailable, verifier.CodeAuthUnavailable)
}

func TestEachMethodHasItsOwnRoute(t *testing.T) {
	s := newStage(t, policy, overGRPC)
	user := s.issuer.Token(verifier.Principal{}).Authorization()
	dealer := s.issuer.Token(verifier.Principal{Roles: []string{"dealer"}}).Authorization()
	for _, c := range []struct{ method, caller, other string }{{"List", user, dealer}, {"Buy", user, dealer}, {"Sell", dealer, user}} {
		if _, err := s.call("/test.Cars/"+c.method, c.caller); err != nil {
			t.Error(c.method, err)
		}
		_, err := s.call("/test.Cars/"+c.method, c.other)
		refused(t, err, codes.PermissionDenied, verifier.CodeForbidden)
	}
}

func TestAMethodThatIsNamedNowhereIsRefusedUnlessThereIsADefault(t *testing.T) {
	const boats = "/test.Boats/List"
	s := newStage(t, policy, overGRPC)
	admin := s.issuer.Token(verifier.Principal{Roles: []string{"user", "admin"}}).Authorization()
	_, err := s.call(boats, admin)
	refused(t, err, codes.PermissionDenied, verifier.CodeForbidden)
	_, err = s.call(boats)
	refused(t, err, codes.PermissionDenied, verifier.CodeForbidden)

	s = newStage(t, verifiergrpc.Policy{Default: []verifier.RouteOption{}}, overGRPC)
	if _, err := s.call(boats, s.issuer.Token(verifier.Principal{Roles: []string{}}).Authorization()); err != nil {
		t.Error(err)
	}
	_, err = s.call(boats)
	refused(t, err, codes.Unauthenticated, verifier.CodeMissingCredential)
}

func TestHealthAndReflectionArePublicOnlyWhenNamedSo(t *testing.T) {
	s := newStage(t, policy, overGRPC)
	if _, err := healthpb.NewHealthClient(s.client).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Error(err)
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	watch, err := healthpb.NewHealthClient(s.client).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Error(err)
	}
	info, err := reflectionpb.NewServerReflectionClient(s.client).ServerReflectionInfo(t.Context())
	if err == nil {
		_, err = info.Recv()
	}
	refused(t, err, codes.PermissionDenied, verifier.CodeForbidden)

	s = newStage(t, verifiergrpc.Policy{Default: []verifier.RouteOption{}}, overGRPC)
	_, err = healthpb.NewHealthClient(s.client).Check(t.Context(), &healthpb.HealthCheckRequest{})
	refused(t, err, codes.Unauthenticated, verifier.CodeMissingCredential)
}

func TestAPublicMethodLooksAtNoCredential(t *testing.T) {
	s := newStage(t, policy, overGRPC)
	s.once = func(ctx context.Context) (string, error) {
		if p, ok := verifier.FromContext(ctx); ok {
			t.Errorf("%+v", p)
		}
		return "buy!", nil
	}
	for _, authorization := range [][]string{nil, {"Bearer x"}, {"", ""}} {
		if _, err := s.call("/test.Cars/Advert", authorization...); err != nil {
			t.Error(err)
		}
	}
}

func TestNothingIsAcceptedByALaterName(t *testing.T) {
	guard, err := verifiergrpc.New(verifiertest.New(t).Verifier, verifiergrpc.Policy{
		Methods: map[string][]verifier.RouteOption{"/test.Cars/Buy": {verifier.Role("user")}}, Default: []verifier.RouteOption{},
		Public: []string{"/test.Cars/"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"test.Cars/Buy", "//test.Cars/Buy", "/test.Cars//Buy", "Buy", "", "/", "/x/test.Cars/Buy"} {
		_, err := guard.Unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) {
			t.Errorf("%q is reached", method)
			return nil, nil
		})
		refused(t, err, codes.PermissionDenied, verifier.CodeForbidden)
	}
}

func TestCallsAndStreamsSpendAQuota(t *testing.T) {
	metered := verifiergrpc.Policy{
		Public: policy.Public, Methods: map[string][]verifier.RouteOption{
			"/test.Cars/":     {verifier.Quota("cars")},
			"/test.Cars/Buy":  {verifier.QuotaExact("cars"), verifier.Elite()},
			"/test.Cars/Poll": {verifier.Quota("cars"), verifier.LongAnswer()},
		},
	}
	for name, carry := range carriers {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, metered, carry)
			s.chat = func(ss grpc.ServerStream) error { return ss.SendMsg(wrapperspb.String("once")) }
			c := s.issuer.Token(verifier.Principal{})
			s.issuer.Limit(c.Subject, "cars", 4)
			for _, method := range []string{"List", "Buy", "Poll"} {
				if _, err := s.call("/test.Cars/"+method, c.Authorization()); err != nil {
					t.Errorf("%s: %v", method, err)
				}
			}
			if _, err := receive(s.open(c.Authorization())); err != nil {
				t.Error(err)
			}
			_, err := receive(s.open(c.Authorization()))
			refused(t, err, codes.ResourceExhausted, verifier.CodeQuotaExceeded)
			for _, method := range []string{"List", "Buy", "Poll"} {
				_, err := s.call("/test.Cars/"+method, c.Authorization())
				refused(t, err, codes.ResourceExhausted, verifier.CodeQuotaExceeded)
				for _, d := range status.Convert(err).Details() {
					if retry, ok := d.(*errdetails.RetryInfo); ok && retry.RetryDelay.AsDuration() != 55*time.Second {
						t.Errorf("%s: %v until the window ends", method, retry.RetryDelay.AsDuration())
					}
				}
			}
		})
	}
}
