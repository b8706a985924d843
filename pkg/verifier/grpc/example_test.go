package verifiergrpc_test

import (
	"log"

	"google.golang.org/grpc"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	verifiergrpc "github.com/tocsin-auth/tocsin/pkg/verifier/grpc"
)

// The whole guarding of a server.
func Example() {
	var v *verifier.Verifier // made by verifier.New
	guard := func() []grpc.ServerOption {
		g, err := verifiergrpc.New(v, verifiergrpc.Policy{
			Public: []string{"/grpc.health.v1.Health/"},
			Methods: map[string][]verifier.RouteOption{
				"/cars.v1.Cars/":    {verifier.Role("user")},
				"/cars.v1.Cars/Buy": {verifier.Role("user"), verifier.Elite()},
			},
		})
		if err != nil {
			log.Fatal(err)
		}
		return g.ServerOptions()
	}
	_ = func() *grpc.Server { return grpc.NewServer(guard()...) }
}
