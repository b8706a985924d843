// Package verifiertest tests handlers that package verifier guards, without any server: [New] makes an issuer in memory and
// a [verifier.Verifier] that follows it.
//
//	func TestDelete(t *testing.T) {
//		issuer := verifiertest.New(t)
//		handler := routes(issuer.Verifier) // the service's own
//		admin := issuer.Token(verifier.Principal{Roles: []string{"admin"}})
//
//		r := httptest.NewRequest("DELETE", "/cars/7", nil)
//		r.Header.Set("Authorization", admin.Authorization())
//		…
//		issuer.Revoke(admin) // from here on it is refused
//	}
//
// The verifier is the real one: what decides in production decides here, on real tokens and keys, and everything that
// [verifier.Verifier] offers works: middleware, gRPC guards, elite routes, policies, bounds, long answers. Only the wire
// isn't there: revocations and proofs come straight from the issuer.
//
// # Order
//
// What a method of [Issuer] changes holds when it returns: a request that begins after it is decided by it, and the contexts of
// long answers that it ends have ended.
//
// # Quotas
//
// Users have none until [Issuer.Limit]; [Issuer.Exhaust] uses one up. After [Issuer.StartAuth] the verifier asks about quotas again within a second
// of the machine's time: until then requests are accepted uncounted, as in production.
//
// # Time
//
// Issuer and verifier have a clock of their own, which stands still until [Issuer.Advance]. It has nothing to do with
// that of the machine, so that tests are the same each time and never wait. As in production, the times of tokens are
// judged with a leeway of 30 seconds.
//
// # Use
//
// All methods are safe for concurrent use; those that can fail end the test, so they are for its own goroutine, see
// [testing.T.FailNow]. There is no way to use the package outside of tests.
package verifiertest
