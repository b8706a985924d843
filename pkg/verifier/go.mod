module github.com/tocsin-auth/tocsin/pkg/verifier

go 1.26.0

require (
	github.com/golang-jwt/jwt/v5 v5.3.1
	github.com/google/go-cmp v0.7.0
	github.com/nats-io/nats.go v1.55.0
	go.uber.org/goleak v1.3.0
	golang.org/x/sync v0.24.0
	golang.org/x/sys v0.49.0
	pgregory.net/rapid v1.3.0
)

require github.com/nats-io/nkeys v0.4.17 // indirect

require (
	github.com/klauspost/compress v1.20.0 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	github.com/tocsin-auth/tocsin/pkg/events v0.0.0
	golang.org/x/crypto v0.57.0 // indirect
)

replace github.com/tocsin-auth/tocsin/pkg/events => ../events
