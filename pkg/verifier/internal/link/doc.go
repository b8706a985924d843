// Package link joins the verifier to authsvc over NATS: the driver of package follower.
package link
