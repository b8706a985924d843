package natstest

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/test/machine"
)

// Dial connects a client, again until a server answers in time. It stays open until [nats.Conn.Close].
func Dial(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	for deadline := time.Now().Add(machine.Patience); ; time.Sleep(10 * time.Millisecond) { // servers of their own
		nc, err := nats.Connect(url, opts...)
		if err == nil {
			return nc
		}
		if time.Now().After(deadline) {
			t.Fatalf("connect to %s: %v", url, err)
		}
	}
}
