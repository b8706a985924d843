package verifiergrpc_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	verifiergrpc "github.com/tocsin-auth/tocsin/pkg/verifier/grpc"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stage is a real gRPC server behind a guard, and a client of it.
type stage struct {
	t      testing.TB
	issuer *verifiertest.Issuer
	client *grpc.ClientConn
	// What the methods do.
	once func(context.Context) (string, error)
	chat func(grpc.ServerStream) error
}

var policy = verifiergrpc.Policy{
	Public: []string{"/grpc.health.v1.Health/", "/test.Cars/Advert"},
	Methods: map[string][]verifier.RouteOption{
		"/test.Cars/":     {verifier.Role("user")},
		"/test.Cars/Buy":  {verifier.Role("user"), verifier.Elite()},
		"/test.Cars/Sell": {verifier.Role("dealer")},
		"/test.Cars/Poll": {verifier.LongAnswer()},
		"/test.Cars/Old":  {verifier.OnStale(verifier.Ask)},
	},
}

// carrier is how the server is reached.
type carrier func(*stage, *verifiergrpc.Guard, *grpc.Server, net.Listener)

func newStage(t testing.TB, policy verifiergrpc.Policy, carry carrier, opts ...verifier.Option) *stage {
	t.Helper()
	s := &stage{t: t, issuer: verifiertest.New(t, opts...)}
	s.once = func(ctx context.Context) (string, error) {
		p, _ := verifier.FromContext(ctx)
		return p.Subject, nil
	}
	guard, err := verifiergrpc.New(s.issuer.Verifier, policy)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(guard.ServerOptions()...)
	s.register(server)
	listener := bufconn.Listen(1 << 16)
	s.client, err = grpc.NewClient("passthrough:test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	carry(s, guard, server, listener)
	t.Cleanup(func() { s.client.Close() }) // first, so that nobody waits for it
	return s
}

// overGRPC is gRPC's own transport.
func overGRPC(s *stage, _ *verifiergrpc.Guard, server *grpc.Server, listener net.Listener) {
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	s.t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // which is what it says when it hadn't begun
			s.t.Error(err)
		}
	})
}

// overHTTP is net/http's, as it should be used.
func overHTTP(s *stage, guard *verifiergrpc.Guard, server *grpc.Server, listener net.Listener) {
	serveHTTP(s, guard.Handler(server), server, listener)
}

// overBareHTTP is net/http's without the guard's part.
func overBareHTTP(s *stage, _ *verifiergrpc.Guard, server *grpc.Server, listener net.Listener) {
	serveHTTP(s, server, server, listener)
}

func serveHTTP(s *stage, h http.Handler, server *grpc.Server, listener net.Listener) {
	web := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	web.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	s.t.Cleanup(func() {
		server.Stop()
		web.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			s.t.Error(err)
		}
	})
}

var carriers = map[string]carrier{"gRPC": overGRPC, "net/http": overHTTP}

// names are the unary methods.
var names = []string{"List", "Buy", "Sell", "Poll", "Old", "Advert"}

func (s *stage) register(server *grpc.Server) {
	cars := grpc.ServiceDesc{ServiceName: "test.Cars", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
		StreamName: "Chat", ServerStreams: true, ClientStreams: true,
		Handler: func(_ any, ss grpc.ServerStream) error { return s.chat(ss) },
	}}}
	for _, name := range names {
		cars.Methods = append(cars.Methods, grpc.MethodDesc{MethodName: name, Handler: s.serveOnce})
	}
	server.RegisterService(&cars, s)
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "test.Boats", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "List", Handler: s.serveOnce}}}, s)
	healthpb.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)
}

func (s *stage) serveOnce(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	in := new(wrapperspb.StringValue)
	if err := decode(in); err != nil {
		return nil, err
	}
	method, _ := grpc.Method(ctx)
	return intercept(ctx, in, &grpc.UnaryServerInfo{Server: s, FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
		text, err := s.once(ctx)
		return wrapperspb.String(text), err
	})
}

func with(ctx context.Context, authorization ...string) context.Context {
	md := metadata.MD{}
	md.Append("authorization", authorization...)
	return metadata.NewOutgoingContext(ctx, md)
}

func (s *stage) call(method string, authorization ...string) (string, error) {
	out := new(wrapperspb.StringValue)
	err := s.client.Invoke(with(s.t.Context(), authorization...), method, wrapperspb.String("x"), out)
	return out.GetValue(), err
}

func (s *stage) open(authorization ...string) grpc.ClientStream {
	s.t.Helper()
	ss, err := s.client.NewStream(with(s.t.Context(), authorization...),
		&grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Cars/Chat")
	if err != nil {
		s.t.Fatal(err)
	}
	return ss
}

// receive is what the next message of a stream says.
func receive(ss interface{ RecvMsg(any) error }) (string, error) {
	in := new(wrapperspb.StringValue)
	err := ss.RecvMsg(in)
	return in.GetValue(), err
}

// refused fails the test unless an error is a refusal as it is to look.
func refused(t testing.TB, err error, code codes.Code, reason verifier.Code) {
	t.Helper()
	got := status.Convert(err)
	var info *errdetails.ErrorInfo
	var retry *errdetails.RetryInfo
	for _, d := range got.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.RetryInfo:
			retry = d
		}
	}
	if got.Code() != code || info.GetReason() != string(reason) || info.GetDomain() != verifiergrpc.Domain || got.Message() == "" {
		t.Errorf("%v, reason %q; want %v, %q", err, info.GetReason(), code, reason)
	}
	helps := code == codes.Unavailable || code == codes.ResourceExhausted
	if helps != (retry.GetRetryDelay().AsDuration() > 0) {
		t.Errorf("%v: %v to wait", err, retry)
	}
}
