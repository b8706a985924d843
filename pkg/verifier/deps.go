package verifier

import (
	_ "github.com/golang-jwt/jwt/v5"
	_ "github.com/nats-io/nats.go"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/sync/singleflight"
	_ "github.com/google/go-cmp/cmp"
	_ "go.uber.org/goleak"
	_ "pgregory.net/rapid"
	_ "github.com/nats-io/nkeys"
)
