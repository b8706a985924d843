// Package follower is the verifier's side of the feed as a pure state machine.
package follower
