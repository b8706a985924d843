package httpapi

import (
	"fmt"
	"testing"
	"time"
)

func TestRegistrationsThatAreNotValidCostNothing(t *testing.T) {
	s := newLimited(t, Limits{Registrations: Limit{Times: 1, Per: time.Hour}})
	register := func(name, password string) int {
		return s.from("192.0.2.1", "/v1/register", nil, `{"username":"`+name+`","password":"`+password+`"}`).Code
	}
	for n := range 3 {
		if got := register("?", userPassword) + register("ada", "password"); got != 800 {
			t.Fatalf("call %d: %d", n, got)
		}
	}
	if got := register("ada", userPassword); got != 201 {
		t.Errorf("a valid one: %d", got)
	}
	if got := register("?", userPassword); got != 429 {
		t.Errorf("one too many: %d", got)
	}
}

func TestManyNetworksOfStrangersDoNotLockOutOthers(t *testing.T) {
	s := newLimited(t, Limits{Logins: Limit{Times: 1, Per: 10 * time.Second}})
	for n := range 2 * limitedNetworks { // as many that failed just now, each of a block of its own
		s.limits.logins.take(fmt.Sprintf("2001:db8:%x::1", n), s.clock)
	}
	for n := range 20 {
		if got := s.signIn(fmt.Sprintf("192.0.2.%d", n), "admin", adminPassword); got != 200 {
			t.Fatalf("network %d: %d", n, got)
		}
	}
}

func TestNetworksOfOneBlockShareALargerBudget(t *testing.T) {
	s := newLimited(t, Limits{Logins: Limit{Times: 2, Per: 20 * time.Second}})
	from := func(n int) string { return fmt.Sprintf("2001:db8:1:%x::1", n) }
	for n := range 3 * networksOfBlock {
		if got := s.signIn(from(n), "admin", adminPassword); got != 200 {
			t.Fatalf("good login %d: %d", n, got)
		}
	}
	for range 3 * networksOfBlock { // beyond its own budget a network takes nothing of the block's
		s.signIn(from(0), "nobody", "wrong")
	}
	for n := range 2*networksOfBlock - 2 {
		if got := s.signIn(from(n+1), fmt.Sprintf("user%d", n), "wrong"); got != 401 {
			t.Fatalf("failure %d: %d", n, got)
		}
	}
	for n := range 3 { // and one that the block refuses costs the network nothing
		if got := s.signIn(from(1000), "user", "wrong"); got != 429 {
			t.Errorf("refusal %d: %d", n, got)
		}
	}
	if got := s.signIn("2001:db8:2::1", "user", "wrong"); got != 401 {
		t.Errorf("another block: %d", got)
	}
	s.clock = s.clock.Add(2 * time.Second) // the block has three again
	for n := range 2 {
		if got := s.signIn(from(1000), "user", "wrong"); got != 401 {
			t.Errorf("failure %d after a pause: %d", n, got)
		}
	}
}
