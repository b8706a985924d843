// Package bus gives authsvc its NATS: an embedded server with JetStream, or connections to an external one.
//
// One template makes the permission set in every form: the embedded server's configuration, deploy/nats.conf, and the
// account block that is printed for a service that joins an external NATS. The truth about which services may join is the
// services table; [Bus.Sync] makes the embedded server follow it.
//
// authsvc uses two connections with different rights. [Bus.Feed] publishes the feed and keeps the stream; it can't answer
// questions. [Bus.Reply] takes the questions and can publish nothing but one answer to each. NATS is trusted for delivery
// only: everything that leaves on either is signed.
package bus
