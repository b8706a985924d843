package natstest

import (
	"context"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
)

// oneTry is how long an answer is waited for that may never come, as the question or the leader who had it is lost.
const oneTry = 5 * time.Second

// Insist does something that may be done twice, such as a call of JetStream's API, again until it succeeds: between leaders there
// is nobody who answers.
func Insist(t testing.TB, what string, do func(ctx context.Context) error) {
	t.Helper()
	for deadline := time.Now().Add(machine.Patience); ; time.Sleep(10 * time.Millisecond) { // servers of their own
		ctx, cancel := context.WithTimeout(t.Context(), oneTry)
		err := do(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}
