// Package link joins the verifier to authsvc over NATS: it drives package follower, which decides everything.
//
// # Who runs what
//
// [Start] begins one owner goroutine. It loads the feed keys, connects, subscribes, and from then on keeps the time:
// questions, demands, catch-up. Beside it one goroutine reads the live feed and one the answers, each from its own
// subscription, so that a flood of events can't delay an answer. Reading the stream, fetching keys and refreshing feed
// keys happen in goroutines of their own, at most one of each. All end with [Link.Close], which waits for them.
//
// # What is trusted
//
// Feed keys come from the issuer over HTTPS (plain HTTP for loopback hosts only) or from a pinned file, never from a
// message. Every message is verified with them before it is decoded. Token keys come by the question "keys", signed
// with a feed key over nonce and request, so there is one anchor. A token kid that ever left the set stays out.
//
// NATS may drop, delay, repeat and reorder whatever it likes: that costs freshness, never correctness. After a lost
// connection the subscriptions are renewed, flushed, and a question is asked; only if its answer is ahead of what was
// applied is anything read: if it is much, as compact pages from authsvc; else the stream by Direct Get batches, from the last
// applied event's time minus a margin; and what that lacks as snapshot pages from authsvc. Each is tried when the one before
// didn't bring it all.
package link
