// Package auth is the domain of authsvc: users, sessions, tokens, API keys, roles, and everything that ends or narrows
// trust in them.
//
// Three rules hold for every method of [Service]:
//
//   - State, event and audit row commit in one transaction. Whoever got a nil error knows that the event can't be lost.
//   - Who asks is read from the database, first with the credential ([Service.AuthenticateBearer],
//     [Service.AuthenticateKey]) and once more inside the transaction that changes something.
//   - A credential is issued in a transaction that holds the locks of its user, its session and the authority row, so
//     that it is either seen by a revocation or made after it.
//
// Errors for the caller are of type [*Error]; anything else is a fault of ours, and its text is for the log only.
package auth
