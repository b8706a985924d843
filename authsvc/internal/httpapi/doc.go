// Package httpapi is the HTTP face of authsvc. Handlers translate between HTTP and the domain and decide nothing.
//
// Each call passes, in this order: request id, access log and metrics; routing; the credential ([Server.authenticate]);
// the strict form of query and body (strict.go), since the schema's validation lets pass what different readers
// understand differently; the schema, from which /openapi.json is made too; the handler. A handler returns the domain's
// error, and errors.go alone knows which status that is.
//
// No answer ever repeats a value that was sent, and no log line holds one.
package httpapi
