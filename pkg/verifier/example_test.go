package verifier_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// The whole embedding of a service.
func Example() {
	v, err := verifier.New(context.Background(), verifier.Config{
		Issuer: "https://auth.example.com", Audience: "tocsin", Service: "cars", NATSURL: "nats://bus.example.com:4222",
	}, verifier.WithNATSCredentials("cars.nk"))
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := verifier.FromContext(r.Context())
		fmt.Fprintf(w, "hello %s\n", p.Subject)
	})
	http.Handle("GET /cars", v.Require()(hello))
	http.Handle("DELETE /cars/{id}", v.Require(verifier.Elite(), verifier.Role("admin"))(hello))
	log.Fatal(http.ListenAndServe(":8081", nil))
}

// Without net/http: whatever carries the credential hands it to Verify.
func ExampleVerifier_Verify() {
	var v *verifier.Verifier // made by verifier.New
	route, err := v.Route(verifier.AnyRole("worker", "admin"))
	if err != nil {
		log.Fatal(err)
	}
	handle := func(ctx context.Context, apiKey string) error {
		p, err := v.Verify(ctx, verifier.APIKey(apiKey), route)
		if errors.Is(err, verifier.ErrStale) {
			return fmt.Errorf("try again: %w", err)
		}
		if err != nil {
			return err
		}
		fmt.Println("working for", p.Subject)
		return nil
	}
	_ = handle
}

// A handler is tested without any server: its principal is put into the context.
func ExampleNewContext() {
	ctx := verifier.NewContext(context.Background(), &verifier.Principal{Subject: "alice", Roles: []string{"admin"}})
	p, ok := verifier.FromContext(ctx)
	fmt.Println(ok, p.Subject, p.HasRole("admin"))
	// Output: true alice true
}
