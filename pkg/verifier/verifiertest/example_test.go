package verifiertest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiertest"
)

// routes are those of a service, as its main would mount them.
func routes(v *verifier.Verifier) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /cars", v.Require(verifier.Role("user"))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := verifier.FromContext(r.Context())
		fmt.Fprintf(w, "the cars of %s", p.Subject)
	})))
	mux.Handle("DELETE /cars/{id}", v.Require(verifier.Elite(), verifier.Role("admin"))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})))
	return mux
}

// status is that of the answer to one request.
func status(h http.Handler, c verifiertest.Caller, method, path string) int {
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Authorization", c.Authorization())
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

// A test of a service's own routes: who may, and who may no longer.
func Example() {
	t, end := inTest() // in a test it is the *testing.T
	defer end()

	issuer := verifiertest.New(t)
	handler := routes(issuer.Verifier)

	alice := issuer.Token(verifier.Principal{})
	fmt.Println("list:", status(handler, alice, "GET", "/cars"))
	fmt.Println("delete:", status(handler, alice, "DELETE", "/cars/7"))

	issuer.SetRoles(alice.Subject, "user", "admin")
	fmt.Println("delete as admin:", status(handler, alice, "DELETE", "/cars/7"))

	issuer.Revoke(alice)
	fmt.Println("list when revoked:", status(handler, alice, "GET", "/cars"))
	// Output:
	// list: 200
	// delete: 403
	// delete as admin: 204
	// list when revoked: 401
}

// What a service does while it can't know who was revoked.
func ExampleIssuer_GoStale() {
	t, end := inTest()
	defer end()

	issuer := verifiertest.New(t)
	handler := routes(issuer.Verifier)
	admin := issuer.Token(verifier.Principal{Roles: []string{"user", "admin"}})

	issuer.GoStale()
	fmt.Println("ordinary:", status(handler, admin, "GET", "/cars"))
	fmt.Println("elite:", status(handler, admin, "DELETE", "/cars/7"))

	issuer.StopAuth()
	fmt.Println("elite without auth:", status(handler, admin, "DELETE", "/cars/7"))

	issuer.Freshen()
	fmt.Println("ordinary:", status(handler, admin, "GET", "/cars"))
	// Output:
	// ordinary: 503
	// elite: 204
	// elite without auth: 503
	// ordinary: 200
}

// An API key of which only a part of the user's roles may be used, and which has an end.
func ExampleIssuer_Key() {
	t, end := inTest()
	defer end()

	issuer := verifiertest.New(t)
	handler := routes(issuer.Verifier)
	key := issuer.Key(verifier.Principal{
		Subject: verifiertest.UserID("alice"), Roles: []string{"user", "admin"}, Scopes: []string{"user"},
		Expires: issuer.Now().Add(time.Hour),
	})
	fmt.Println("list:", status(handler, key, "GET", "/cars"))
	fmt.Println("delete:", status(handler, key, "DELETE", "/cars/7"))

	issuer.Advance(time.Hour)
	fmt.Println("list later:", status(handler, key, "GET", "/cars"))
	// Output:
	// list: 200
	// delete: 403
	// list later: 401
}

// A long answer ends with its credential.
func ExampleIssuer_RevokeSession() {
	t, end := inTest()
	defer end()

	issuer := verifiertest.New(t)
	alice := issuer.Token(verifier.Principal{})
	ctx, release, err := issuer.Verifier.Live(context.Background(), alice.Credential(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	issuer.RevokeSession(alice.SessionID)
	fmt.Println(context.Cause(ctx))
	// Output: the credential was revoked
}

// exampleT is a test's T where there is none.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func inTest() (testing.TB, func()) {
	t := &exampleT{}
	return t, func() {
		for _, clean := range t.cleanups {
			clean()
		}
	}
}

func (t *exampleT) Helper()                      {}
func (t *exampleT) Context() context.Context     { return context.Background() }
func (t *exampleT) Cleanup(clean func())         { t.cleanups = append(t.cleanups, clean) }
func (t *exampleT) Fatal(why ...any)             { panic(fmt.Sprint(why...)) }
func (t *exampleT) Fatalf(why string, of ...any) { panic(fmt.Sprintf(why, of...)) }
