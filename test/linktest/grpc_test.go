package linktest

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
	verifiergrpc "github.com/tocsin-auth/tocsin/pkg/verifier/grpc"
	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/natstest"
)

// stage is a gRPC server behind a guard whose verifier follows an authority over a real NATS server, and a client.
type stage struct {
	t         *testing.T
	authority *authority
	answers   *nats.Conn // the authority's
	verifier  *verifier.Verifier
	client    *grpc.ClientConn
	// What the methods do.
	once func(context.Context) (string, error)
	chat func(grpc.ServerStream) error
}

func newStage(t *testing.T, policy verifiergrpc.Policy, opts ...verifier.Option) *stage {
	n := natstest.Start(t, service)
	s := &stage{t: t, answers: connect(t, n, natstest.AuthReply)}
	s.authority = newAuthority(t, connect(t, n, natstest.AuthFeed), s.answers, 1)
	s.verifier = start(t, n.URL(), n.SeedFile(service), opts...)
	await(t, s.verifier, 0)
	guard, err := verifiergrpc.New(s.verifier, policy)
	if err != nil {
		t.Fatal(err)
	}
	s.serve(grpc.NewServer(guard.ServerOptions()...))
	return s
}

func (s *stage) serve(server *grpc.Server) {
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Cars", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Once", Handler: s.serveOnce}, {MethodName: "Buy", Handler: s.serveOnce}, {MethodName: "Poll", Handler: s.serveOnce}},
		Streams: []grpc.StreamDesc{{StreamName: "Chat", ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, ss grpc.ServerStream) error { return s.chat(ss) }}},
	}, s)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	s.client, err = grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		s.client.Close()
		server.Stop()
		if err := <-served; err != nil {
			s.t.Error(err)
		}
	})
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

// token is one that the n-th revocation of the authority's will end.
func token(t *testing.T, n uint64) string {
	t.Helper()
	id := events.ID{6: 0x70, 8: 0x80, 15: 0xa1}.String()
	j := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": issuer, "aud": "tocsin", "sub": id, "client_id": "tocsin", "jti": jti(n), "sid": id, "mode": "live",
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "roles": []string{"user"}, "rv": 1, "tv": 1,
	})
	j.Header["typ"], j.Header["kid"] = "at+jwt", (&authority{}).kids()[0]
	raw, err := j.SignedString(key("t"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func with(ctx context.Context, authorization ...string) context.Context {
	md := metadata.MD{}
	md.Append("authorization", authorization...)
	return metadata.NewOutgoingContext(ctx, md)
}

func (s *stage) call(method string, authorization ...string) (string, error) {
	out := new(wrapperspb.StringValue)
	err := s.client.Invoke(with(s.t.Context(), authorization...), "/test.Cars/"+method, wrapperspb.String("x"), out)
	return out.GetValue(), err
}

func (s *stage) open(authorization string) grpc.ClientStream {
	s.t.Helper()
	ss, err := s.client.NewStream(with(s.t.Context(), authorization), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Cars/Chat")
	if err != nil {
		s.t.Fatal(err)
	}
	return ss
}

// revoke ends the next token, and tells of it.
func (s *stage) revoke() {
	first, last := s.authority.revoke(1)
	s.authority.tell(first, last)
}

// refused fails the test unless an error is a refusal as it is to look.
func refused(t *testing.T, err error, code codes.Code, reason verifier.Code) {
	t.Helper()
	got := status.Convert(err)
	var info *errdetails.ErrorInfo
	for _, d := range got.Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			info = i
		}
	}
	if got.Code() != code || info.GetReason() != string(reason) || info.GetDomain() != verifiergrpc.Domain || got.Message() == "" {
		t.Errorf("%v, reason %q; want %v, %q", err, info.GetReason(), code, reason)
	}
}

var policy = verifiergrpc.Policy{
	Public: []string{"/test.Cars/Public"},
	Methods: map[string][]verifier.RouteOption{
		"/test.Cars/":     {verifier.Role("user")},
		"/test.Cars/Buy":  {verifier.Elite()},
		"/test.Cars/Poll": {verifier.LongAnswer()},
	},
}

func TestGRPCCallsAreRefusedAsInHTTP(t *testing.T) {
	s := newStage(t, policy)
	s.once = func(ctx context.Context) (string, error) {
		p, _ := verifier.FromContext(ctx)
		return p.TokenID, nil
	}
	good := "Bearer " + token(t, 1)
	if got, err := s.call("Once", good); err != nil || got != jti(1) {
		t.Fatalf("%q %v", got, err)
	}
	_, err := s.call("Once")
	refused(t, err, codes.Unauthenticated, verifier.CodeMissingCredential)
	_, err = s.call("Once", good, good)
	refused(t, err, codes.Unauthenticated, verifier.CodeInvalidRequest)
	_, err = s.call("Once", "Basic x")
	refused(t, err, codes.Unauthenticated, verifier.CodeMissingCredential)
	_, err = s.call("Once", "Api-Key short")
	refused(t, err, codes.Unauthenticated, verifier.CodeMalformed)
	_, err = s.call("Buy", good) // nobody answers elite questions here
	refused(t, err, codes.Unavailable, verifier.CodeAuthUnavailable)
	s.revoke()
	await(t, s.verifier, 1)
	_, err = s.call("Once", good)
	refused(t, err, codes.Unauthenticated, verifier.CodeRevoked)
	_, err = s.call("Poll", good)
	refused(t, err, codes.Unauthenticated, verifier.CodeRevoked)
}

func TestGRPCRoleIsRequired(t *testing.T) {
	s := newStage(t, verifiergrpc.Policy{Default: []verifier.RouteOption{verifier.Role("admin")}})
	_, err := s.call("Once", "Bearer "+token(t, 1))
	refused(t, err, codes.PermissionDenied, verifier.CodeForbidden)
}

func TestBoundedAcceptanceAGRPCLongPollIsNotAnsweredForADeadCredential(t *testing.T) {
	s := newStage(t, policy)
	s.once = func(ctx context.Context) (string, error) {
		s.revoke()
		<-ctx.Done()
		return "what nobody may see", nil
	}
	_, err := s.call("Poll", "Bearer "+token(t, 1))
	refused(t, err, codes.Unauthenticated, verifier.CodeRevoked)
}

func TestBoundedAcceptanceAGRPCStreamThatOnlyReceivesEndsWithItsCredential(t *testing.T) {
	s := newStage(t, policy)
	received := make(chan error, 1)
	s.chat = func(ss grpc.ServerStream) error {
		var in wrapperspb.StringValue
		for {
			if err := ss.RecvMsg(&in); err != nil {
				received <- err
				return nil // a handler that takes any end for a good one
			}
			if err := ss.SendMsg(&in); err != nil {
				return err
			}
		}
	}
	stream := s.open("Bearer " + token(t, 1))
	if err := stream.SendMsg(wrapperspb.String("hello")); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(new(wrapperspb.StringValue)); err != nil {
		t.Fatal(err)
	}
	s.revoke()
	if err := stream.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.Canceled {
		t.Error(err)
	}
	if got := stream.Trailer().Get(verifiergrpc.Trailer); len(got) != 1 || got[0] != string(verifier.CodeRevoked) {
		t.Errorf("trailer %v", got)
	}
	refused(t, <-received, codes.Unauthenticated, verifier.CodeRevoked)
}

func TestBoundedAcceptanceNotAGRPCMessageIsSentForADeadCredential(t *testing.T) {
	s := newStage(t, policy)
	sent := make(chan error, 1)
	s.chat = func(ss grpc.ServerStream) error {
		s.revoke()
		await(t, s.verifier, 1)
		sent <- ss.SendMsg(wrapperspb.String("what nobody may see")) // its context is never looked at
		return nil
	}
	stream := s.open("Bearer " + token(t, 1))
	refused(t, stream.RecvMsg(new(wrapperspb.StringValue)), codes.Unauthenticated, verifier.CodeRevoked)
	refused(t, <-sent, codes.Unauthenticated, verifier.CodeRevoked)
}

func TestBoundedAcceptanceAGRPCMessageThatWaitsForASlowClientIsNotSent(t *testing.T) {
	s := newStage(t, policy)
	begun, full, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	s.chat = func(ss grpc.ServerStream) error {
		large := wrapperspb.String(strings.Repeat("x", 1<<20))
		close(begun)
		for n := 0; ; n++ {
			if n == 3 {
				close(full) // the windows of a client are smaller than that
			}
			if err := ss.SendMsg(large); err != nil {
				ended <- err
				return err
			}
		}
	}
	_ = s.open("Bearer " + token(t, 1)) // nobody reads it
	<-begun
	select {
	case <-full:
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(2 * time.Second): // it waits already
	}
	s.revoke()
	refused(t, <-ended, codes.Unauthenticated, verifier.CodeRevoked)
}

func TestBoundedAcceptanceAGRPCStreamEndsWithoutProof(t *testing.T) {
	s := newStage(t, policy, verifier.WithMaxStaleness(time.Second))
	s.chat = func(ss grpc.ServerStream) error {
		if err := ss.SendMsg(wrapperspb.String("begun")); err != nil {
			return err
		}
		<-ss.Context().Done()
		return nil
	}
	var stream grpc.ClientStream
	machine.Await(t, "a stream that has begun", func() bool { // B is so small that a slow machine may have none
		stream = s.open("Bearer " + token(t, 1))
		return stream.RecvMsg(new(wrapperspb.StringValue)) == nil
	})
	s.answers.Close()
	refused(t, stream.RecvMsg(new(wrapperspb.StringValue)), codes.Unavailable, verifier.CodeStale)
}
