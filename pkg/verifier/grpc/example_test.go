package verifiergrpc_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	verifiergrpc "github.com/tocsin-auth/tocsin/pkg/verifier/grpc"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiertest"
)

// newServer is a service's: everybody may check its health, and users may watch it.
func newServer(v *verifier.Verifier) *grpc.Server {
	guard, err := verifiergrpc.New(v, verifiergrpc.Policy{
		Public:  []string{"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List"},
		Methods: map[string][]verifier.RouteOption{"/grpc.health.v1.Health/Watch": {verifier.Role("user")}},
	})
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(guard.ServerOptions()...)
	healthpb.RegisterHealthServer(server, health.NewServer())
	if err := guard.Check(server); err != nil {
		log.Fatal(err)
	}
	return server
}

// A guarded server, and how it is tested: a stream ends with its caller's session.
func Example() {
	t := new(exampleT) // in a test it is the *testing.T
	defer t.end()

	issuer := verifiertest.New(t)
	server := newServer(issuer.Verifier)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	defer server.Stop()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	alice := issuer.Token(verifier.Principal{})
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", alice.Authorization())
	stream, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	news, err := stream.Recv()
	fmt.Println(news.GetStatus(), err)

	issuer.RevokeSession(alice.SessionID)
	_, err = stream.Recv()
	fmt.Println(status.Code(err), stream.Trailer().Get(verifiergrpc.Trailer))
	// Output:
	// SERVING <nil>
	// Unauthenticated [revoked]
}

// exampleT is a test's T where there is none.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (t *exampleT) Helper()                  {}
func (t *exampleT) Context() context.Context { return context.Background() }
func (t *exampleT) Cleanup(clean func())     { t.cleanups = append(t.cleanups, clean) }
func (t *exampleT) Fatal(why ...any)         { panic(fmt.Sprint(why...)) }

func (t *exampleT) end() {
	for _, clean := range t.cleanups {
		clean()
	}
}
