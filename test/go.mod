module github.com/tocsin-auth/tocsin/test

go 1.26.0

require (
	github.com/nats-io/nats-server/v2 v2.15.2
	github.com/nats-io/nats.go v1.55.0
	github.com/nats-io/nkeys v0.4.17
	github.com/redis/rueidis v1.0.79
	go.uber.org/goleak v1.3.0
)

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/google/uuid v1.6.0
	modernc.org/sqlite v1.55.0
)

require (
	github.com/golang-jwt/jwt/v5 v5.3.1
	github.com/tocsin-auth/tocsin/pkg/verifier/grpc v0.0.0
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260817212433-ac3dfec99bb1
	google.golang.org/grpc v1.85.0
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/jackc/pgx/v5 v5.12.0
	github.com/tocsin-auth/tocsin/pkg/verifier v0.0.0
	go.yaml.in/yaml/v3 v3.0.5
)

require (
	github.com/dustin/go-humanize v1.0.1 // indirect
	github.com/mattn/go-isatty v0.0.23 // indirect
	github.com/ncruces/go-strftime v1.0.0 // indirect
	github.com/remyoudompheng/bigfft v0.0.0-20230129092748-24d4a6f8daec // indirect
	modernc.org/libc v1.74.3 // indirect
	modernc.org/mathutil v1.7.1 // indirect
	modernc.org/memory v1.11.0 // indirect
)

require (
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	golang.org/x/sync v0.24.0 // indirect
)

require (
	github.com/antithesishq/antithesis-sdk-go v0.8.0-default-no-op // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/minio/highwayhash v1.0.4 // indirect
	github.com/nats-io/jwt/v2 v2.8.2 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	github.com/tocsin-auth/tocsin/pkg/events v0.0.0
	github.com/tocsin-auth/tocsin/test/pgtest v0.0.0
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace github.com/tocsin-auth/tocsin/pkg/events => ../pkg/events

replace github.com/tocsin-auth/tocsin/pkg/verifier => ../pkg/verifier

replace github.com/tocsin-auth/tocsin/test/pgtest => ./pgtest

replace github.com/tocsin-auth/tocsin/pkg/verifier/grpc => ../pkg/verifier/grpc
