// Package verifiergrpc guards the methods of a gRPC server with a [verifier.Verifier]. It is a module of its own, so that
// the verifier itself needs no gRPC.
//
//	guard, err := verifiergrpc.New(v, verifiergrpc.Policy{
//		Public: []string{"/grpc.health.v1.Health/"},
//		Methods: map[string][]verifier.RouteOption{
//			"/cars.v1.Cars/":    {verifier.Role("user")},
//			"/cars.v1.Cars/Buy": {verifier.Role("user"), verifier.Elite()},
//		},
//	})
//	…
//	server := grpc.NewServer(guard.ServerOptions()...)
//	… // register services
//	err = guard.Check(server) // is the policy about these services?
//
// A method that the policy doesn't name is refused, unless it has a default.
//
// The credential comes in the metadata "authorization", as it does in HTTP: "Bearer <token>" or "Api-Key <key>". Handlers
// ask [verifier.FromContext] who is calling.
//
// # Streams
//
// A stream is accepted message by message, and so is an answer of a unary method with [verifier.LongAnswer]: whatever is sent or
// received is judged at that moment, as a request that begins then. What was revoked, expired or lost a required role, and
// what freshness has ended for, is refused there, whether or not anything has noticed before: so a process that was frozen
// sends nothing with what it knew before the freeze. The stream's context ends as soon as the verifier's watch has seen it, and
// with it receiving and sending that waits; the caller is told why.
//
// What can still arrive is what was judged before: of each stream the one message whose check had just been made, and
// what gRPC and the kernel hold for a client that reads slowly; gRPC queues at most 64 KiB and a message.
//
// An interceptor can't end what waits in gRPC's transport. [Guard.Tap] can, which is among [Guard.ServerOptions]; a server
// that net/http serves calls no tap, and needs [Guard.Handler]. A stream with neither would wait on when its credential is
// dead, so it is refused: Internal.
//
// # Refusals
//
// The status has the refusal's text, and an ErrorInfo whose reason is its [verifier.Code], in the domain [Domain];
// with Unavailable and ResourceExhausted comes a RetryInfo. See [Refusal]. A stream that ends with its credential has the
// code in its [Trailer] as well: where its handler was waiting to receive or to send, gRPC makes the status itself, Canceled.
package verifiergrpc
