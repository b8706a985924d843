package verifiergrpc

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// unproven is a verifier that has proven nothing, since nobody listens where its NATS should be.
func unproven(t *testing.T) *verifier.Verifier {
	t.Helper()
	v, err := verifier.New(t.Context(), verifier.Config{
		Issuer: "https://auth.example.com", Audience: "tocsin", Service: "cars", NATSURL: "nats://127.0.0.1:1",
	}, verifier.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func (g *Guard) try(method string, authorization ...string) (codes.Code, bool) {
	ctx := metadata.NewIncomingContext(context.Background(), metadata.MD{"authorization": authorization})
	reached := false
	_, err := g.Unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) {
		reached = true
		return nil, nil
	})
	return status.Code(err), reached
}

func TestOnlyPublicMethodsAreReachedWithoutACredential(t *testing.T) {
	g, err := New(unproven(t), Policy{
		Public:  []string{"/grpc.health.v1.Health/", "/cars.Cars/Advert"},
		Methods: map[string][]verifier.RouteOption{"/cars.Cars/": {verifier.Role("user")}, "/cars.Cars/Buy": {verifier.Elite()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for method, public := range map[string]bool{
		"/grpc.health.v1.Health/Check": true, "/cars.Cars/Advert": true,
		"/cars.Cars/List": false, "/cars.Cars/Buy": false, "/boats.Boats/List": false, "/cars.Cars/advert": false,
	} {
		if code, reached := g.try(method); reached != public || public != (code == codes.OK) {
			t.Errorf("%s: %v, reached %v", method, code, reached)
		}
	}
}

func TestNothingIsAcceptedBeforeTheFirstProof(t *testing.T) {
	g, err := New(unproven(t), Policy{})
	if err != nil {
		t.Fatal(err)
	}
	const key = "Api-Key tcs_live_0000000000000000000000000000000000"
	if code, reached := g.try("/cars.Cars/List", key); reached || code == codes.OK {
		t.Errorf("%v, reached %v", code, reached)
	}
}

func TestBadPoliciesAreNamed(t *testing.T) {
	v := unproven(t)
	for name, p := range map[string]Policy{
		"a bad role":          {Methods: map[string][]verifier.RouteOption{"/a.B/C": {verifier.Role("No Role")}}},
		"a bad default":       {Default: []verifier.RouteOption{verifier.Role("")}},
		"no slash":            {Public: []string{"a.B/C"}},
		"no service":          {Public: []string{"//C"}},
		"a path":              {Methods: map[string][]verifier.RouteOption{"/a/b/c": nil}},
		"public and with one": {Public: []string{"/a.B/C"}, Methods: map[string][]verifier.RouteOption{"/a.B/C": nil}},
	} {
		if _, err := New(v, p); !errors.Is(err, verifier.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorsOfAnotherKindTellNothing(t *testing.T) {
	err := Refusal(errors.New("a secret"))
	if s := status.Convert(err); s.Code() != codes.Unavailable || s.Message() != verifier.TextOf(verifier.ErrAuthUnavailable) {
		t.Error(err)
	}
}
