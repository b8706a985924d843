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

// An event stream that ends with its credential: one option, and a handler as it would be without.
func ExampleLongAnswer() {
	var v *verifier.Verifier // made by verifier.New
	news := make(chan string)
	http.Handle("GET /events", v.Require(verifier.LongAnswer())(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for {
			select {
			case what := <-news:
				fmt.Fprintf(w, "data: %s\n\n", what)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done(): // the client is gone, or its credential is dead
				return
			}
		}
	})))
}

// A stream of another transport: the context ends with the credential, and each message is sent only while it lives.
func ExampleVerifier_Live() {
	var v *verifier.Verifier // made by verifier.New
	stream := func(ctx context.Context, token string, messages <-chan string, send func(string) error) error {
		ctx, end, err := v.Live(ctx, verifier.Bearer(token), nil)
		if err != nil {
			return err
		}
		defer end()
		for {
			select {
			case m := <-messages:
				if err := verifier.Alive(ctx); err != nil {
					return err
				}
				if err := send(m); err != nil {
					return err
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	_ = stream
}

// A handler is tested without any server: its principal is put into the context.
func ExampleNewContext() {
	ctx := verifier.NewContext(context.Background(), &verifier.Principal{Subject: "alice", Roles: []string{"admin"}})
	p, ok := verifier.FromContext(ctx)
	fmt.Println(ok, p.Subject, p.HasRole("admin"))
	// Output: true alice true
}
