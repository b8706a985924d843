package verifiergrpc

import (
	"context"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// Guard lets calls through whose credential meets the requirements of their method. It is safe for concurrent use and
// owns no goroutine.
type Guard struct {
	v      *verifier.Verifier
	routes routes
}

// New returns a guard. Errors are of the policy and wrap [verifier.ErrConfig].
func New(v *verifier.Verifier, p Policy) (*Guard, error) {
	routes, err := p.routes(v)
	if err != nil {
		return nil, err
	}
	return &Guard{v: v, routes: routes}, nil
}

// ServerOptions are the guard's three parts, each chained after or before those that a server has of its own. A server
// with a tap of its own calls [Guard.Tap] from it, and takes [Guard.Unary] and [Guard.Stream] by hand. A server that net/http
// serves needs [Guard.Handler] besides.
func (g *Guard) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.InTapHandle(g.Tap), grpc.ChainUnaryInterceptor(g.Unary), grpc.ChainStreamInterceptor(g.Stream),
	}
}

// credential finds the one credential of a call, by the rules of HTTP. A method without a route has none that would do.
func (g *Guard) credential(ctx context.Context, e entry) (verifier.Credential, error) {
	if e.route == nil {
		g.v.Refused(verifier.ErrForbidden)
		return verifier.Credential{}, errNoRoute
	}
	c, err := verifier.FromRequest(&http.Request{Header: http.Header{"Authorization": metadata.ValueFromIncomingContext(ctx, "authorization")}})
	if err != nil {
		g.v.Refused(err)
		return c, Refusal(err)
	}
	return c, nil
}

// Unary is a [grpc.UnaryServerInterceptor].
func (g *Guard) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	e := g.routes.of(info.FullMethod)
	if e.public {
		return handler(ctx, req)
	}
	c, err := g.credential(ctx, e)
	if err != nil {
		return nil, err
	}
	if e.route.Long() {
		return g.long(ctx, c, e.route, req, handler)
	}
	p, err := g.v.Verify(ctx, c, e.route)
	if err != nil {
		return nil, Refusal(err)
	}
	return handler(verifier.NewContext(ctx, p), req)
}

// long is a unary call whose answer may take long, as a long poll's: it is judged again before it is sent.
func (g *Guard) long(ctx context.Context, c verifier.Credential, route *verifier.Route, req any, handler grpc.UnaryHandler) (any, error) {
	ctx, end, err := g.v.Live(ctx, c, route)
	if err != nil {
		return nil, Refusal(err)
	}
	defer end()
	answer, err := handler(ctx, req)
	if dead := verifier.Alive(ctx); dead != nil {
		return nil, Refusal(dead)
	}
	return answer, err
}

// Stream is a [grpc.StreamServerInterceptor].
func (g *Guard) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	e := g.routes.of(info.FullMethod)
	if e.public {
		return handler(srv, ss)
	}
	end, ok := ss.Context().Value(cutKey{}).(func())
	if !ok {
		return errEndless
	}
	c, err := g.credential(ss.Context(), e)
	if err != nil {
		return err
	}
	ctx, release, err := g.v.Live(ss.Context(), c, e.route)
	if err != nil {
		return Refusal(err)
	}
	defer release()
	over := cutWith(ctx, ss, end)
	err = handler(srv, &liveStream{ServerStream: ss, ctx: ctx})
	dead := verifier.Alive(ctx)
	over()
	if dead != nil {
		return Refusal(dead)
	}
	return err
}

// cutKey is of the func() that ends what waits in a stream. An interceptor has no other way to.
type cutKey struct{}

// cutWith ends what waits in a stream when its credential dies. What waits then writes a status of its own, which can't be
// changed: so the code goes into the trailer first. The function that it returns is to be called when the handler has
// returned; the status of the stream comes after all this.
func cutWith(ctx context.Context, ss grpc.ServerStream, end func()) (over func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		if tell(ctx, ss) {
			end()
		}
	})
	return func() {
		if stop() {
			tell(ctx, ss) // the handler was faster
		} else {
			<-done
		}
	}
}

// tell puts the code of the refusal by which a stream has ended into its trailer, and reports whether there is one.
func tell(ctx context.Context, ss grpc.ServerStream) bool {
	code := verifier.CodeOf(context.Cause(ctx))
	if code != "" {
		ss.SetTrailer(metadata.Pairs(Trailer, string(code)))
	}
	return code != ""
}

// Tap is a [tap.ServerInHandle]. It makes the transport's own context one that can be ended: with that of the credential
// end a receive that waits for a message, and a send that waits for a slow client.
func (g *Guard) Tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	if g.routes.of(info.FullMethodName).public {
		return ctx, nil
	}
	ctx, end := context.WithCancel(ctx)
	return context.WithValue(ctx, cutKey{}, func() { end() }), nil // the transport ends the parent with the stream
}

// liveStream judges whatever passes.
type liveStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context ends with the credential.
func (s *liveStream) Context() context.Context { return s.ctx }

func (s *liveStream) SendMsg(m any) error {
	return s.judged(func() error { return s.ServerStream.SendMsg(m) })
}

func (s *liveStream) SendHeader(md metadata.MD) error {
	return s.judged(func() error { return s.ServerStream.SendHeader(md) })
}

func (s *liveStream) judged(send func() error) error {
	if err := verifier.Alive(s.ctx); err != nil {
		return Refusal(err)
	}
	return s.orRefusal(send())
}

// RecvMsg judges when the message is there.
func (s *liveStream) RecvMsg(m any) error {
	if err := s.orRefusal(s.ServerStream.RecvMsg(m)); err != nil {
		return err
	}
	if err := verifier.Alive(s.ctx); err != nil {
		return Refusal(err)
	}
	return nil
}

// orRefusal tells the refusal where a failure came from the end of the credential.
func (s *liveStream) orRefusal(err error) error {
	if err == nil || s.ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(s.ctx); verifier.CodeOf(cause) != "" {
		return Refusal(cause)
	}
	return err
}
