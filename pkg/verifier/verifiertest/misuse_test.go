package verifiertest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiertest"
)

// failed is how a misuse ends a test.
type failed string

// misused is a T that shows its failure.
type misused struct{ *testing.T }

func (misused) Fatalf(format string, args ...any) { panic(failed(fmt.Sprintf(format, args...))) }

func TestMisuseEndsTheTestAndNamesWhatIsWrong(t *testing.T) {
	alice := verifiertest.UserID("alice")
	for want, misuse := range map[string]func(*verifiertest.Issuer){
		`id of the subject is "alice"`: func(i *verifiertest.Issuer) { i.Token(verifier.Principal{Subject: "alice"}) },
		`id of the session is "x"`:     func(i *verifiertest.Issuer) { i.RevokeSession("x") },
		`has the roles ["user"]`: func(i *verifiertest.Issuer) {
			i.Token(verifier.Principal{Subject: alice})
			i.Key(verifier.Principal{Subject: alice, Roles: []string{"admin"}})
		},
		`has the plan "free"`: func(i *verifiertest.Issuer) {
			i.Token(verifier.Principal{Subject: alice})
			i.Token(verifier.Principal{Subject: alice, Plan: "pro"})
		},
		"is disabled": func(i *verifiertest.Issuer) {
			i.Token(verifier.Principal{Subject: alice})
			i.Disable(alice)
			i.Token(verifier.Principal{Subject: alice})
		},
		"no credential was issued to a user": func(i *verifiertest.Issuer) { i.RevokeUser(alice) },
		"no key with the id":                 func(i *verifiertest.Issuer) { i.Token(verifier.Principal{KeyID: alice}) },
		`claim "sub"`:                        func(i *verifiertest.Issuer) { i.TokenWith(verifier.Principal{}, map[string]any{"sub": "x"}) },
		`mode is "beta"`:                     func(i *verifiertest.Issuer) { i.Key(verifier.Principal{Mode: "beta"}) },
		"time doesn't go back":               func(i *verifiertest.Issuer) { i.Advance(-1) },
		`role is "No Role"`: func(i *verifiertest.Issuer) {
			i.Token(verifier.Principal{Subject: alice})
			i.SetRoles(alice, "No Role")
		},
	} {
		t.Run(want, func(t *testing.T) {
			i := verifiertest.New(misused{t})
			defer func() {
				if got, ok := recover().(failed); !ok || !strings.Contains(string(got), want) {
					t.Errorf("%q", got)
				}
				i.Token(verifier.Principal{}) // it isn't stuck
			}()
			misuse(i)
		})
	}
}

func TestAWrongOptionEndsTheTest(t *testing.T) {
	defer func() {
		if got, _ := recover().(failed); !strings.Contains(string(got), "instance") {
			t.Errorf("%q", got)
		}
	}()
	verifiertest.New(misused{t}, verifier.WithInstance(""))
}
