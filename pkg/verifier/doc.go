// Package verifier lets a service decide in-process whether an access token or an API key of Tocsin is good, with no
// network on the hot path, and lets revocations reach that decision within milliseconds.
//
// Start with [New], guard handlers with [Verifier.Require], and ask [FromContext] who is calling:
//
//	v, err := verifier.New(ctx, verifier.Config{
//		Issuer: "https://auth.example.com", Audience: "tocsin", Service: "cars", NATSURL: "nats://bus.example.com",
//	}, verifier.WithNATSCredentials("cars.nk"))
//	…
//	mux.Handle("GET /cars", v.Require()(list))
//	mux.Handle("DELETE /cars/{id}", v.Require(verifier.Elite(), verifier.Role("admin"))(remove))
//
// That is all that most services need. Without net/http, use [Verifier.Verify].
//
// # What it promises
//
// After a revoking call to authsvc returned, no request that begins more than B later (30 s by default, see
// [WithMaxStaleness]) is accepted on an ordinary route, whatever failed in between; normally it takes milliseconds.
// The verifier asks authsvc twice a second, with a nonce, how far the feed of revocations is. The signed answer, once
// everything up to it is applied, makes it fresh until B after it asked. Not fresh, it refuses: [ErrStale]. A route can
// have a smaller B, and another [StalePolicy].
//
// An answer that lasts longer than that, as an event stream, ends with its credential on a route with [LongAnswer].
//
// A route with [Elite] asks authsvc about each request and is decided with every change that had returned by then.
//
// A route with [Quota] accepts, over all instances of all services, no more than the user's plan allows.
//
// [New] returns at once and never waits for the network: until the first proof every request is refused with 503, so
// use [Verifier.Ready] for your readiness probe.
//
// # Errors
//
// Every refusal has a sentinel for errors.Is, as [ErrRevoked], and a stable [Code]. [Refuse] is the only place that
// turns them into HTTP. What isn't understood is never a reason to accept.
package verifier
