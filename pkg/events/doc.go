// Package events is the wire between authsvc and everything that embeds the verifier: event types, the batches that
// carry them, freshness proofs, and the elite questions and answers, each with its one encoding.
//
// Nothing here does I/O or knows the time. All types are values; functions are safe for concurrent use.
//
// Three rules hold for every message:
//
//   - The bytes are the message. An event's bytes are made once by [EncodeEvent]; the chain hashes exactly them and a
//     batch carries exactly them. Nothing is ever decoded and encoded again.
//   - Every message of authsvc is signed with a feed key over its kind, the issuer and its bytes ([Signer], [KeySet]),
//     so that a signature for one purpose or issuer is worthless for another.
//   - A receiver decodes before it trusts nothing and verifies before it decodes: [KeySet.Verify] comes first.
//
// # Newer versions
//
// Fields that a decoder doesn't know are skipped: a later version may only add fields that an older reader can do
// without. What an older reader must not overlook gets a new type or a new selector. A type or selector that the
// decoder doesn't know becomes [Unknown]: the rest of the batch is still applied, but a reader must not count itself
// complete beyond such an event unless it is marked ignorable.
//
// Times on the wire are int64 microseconds since 1970 UTC by the clock of the issuer's database, except
// TokenRevoked.Before, which is in milliseconds like the UUIDv7 ids it is compared with.
package events
