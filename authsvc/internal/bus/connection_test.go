package bus

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// acceptor gives a listener's connections out, until the test ends.
func acceptor(t *testing.T) (address string, accepted <-chan net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	all, ended := make(chan net.Conn, 64), make(chan struct{})
	go func() {
		defer close(ended)
		defer close(all)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all <- c
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String(), all
}

// shakeHands does the server's part of a handshake.
func shakeHands(c net.Conn) {
	fmt.Fprintf(c, "INFO {\"server_id\":\"half\",\"version\":\"2.12.0\",\"max_payload\":1048576,\"headers\":true}\r\n")
	lines := bufio.NewScanner(c)
	for lines.Scan() && lines.Text() != "PING" {
	}
	fmt.Fprintf(c, "PONG\r\n")
}

// A client that shakes hands with a server that doesn't answer holds its lock for as long as it waits: two seconds.
// Readiness, the dispatcher and the responders ask for the connection's state all the while.
func TestWhetherAConnectionStandsIsKnownDuringAHandshake(t *testing.T) {
	address, accepted := acceptor(t)
	first := make(chan net.Conn, 1)
	go func() {
		c := <-accepted
		shakeHands(c)
		first <- c
	}()
	forEver := func(o *nats.Options) error { o.Timeout = time.Hour; return nil } // a handshake takes
	c, err := connect("nats://"+address, userFeed, forEver, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		go hangUp(accepted) // or Close would wait for the handshake
		c.Close()
		<-c.closed
	}()
	if !c.up.Load() {
		t.Fatal("not up after connecting")
	}
	(<-first).Close()
	silent := <-accepted // and not a word is said
	defer silent.Close()
	b, known := &Bus{feed: c, reply: c}, make(chan bool, 1)
	go func() { known <- b.FeedUp() || b.ReplyUp() }()
	select {
	case up := <-known:
		if up {
			t.Error("up, on a server that doesn't answer")
		}
	case <-time.After(within):
		t.Error("not known before the handshake ends")
	}
}

func hangUp(accepted <-chan net.Conn) {
	for c := range accepted {
		c.Close()
	}
}

// Who publishes to a server that has stopped reading waits, once the buffers between them are full, and the client's pings wait
// too. The library's own limit is a minute.
func TestAPublisherIsNotHeldUpByAServerThatReadsNoMore(t *testing.T) {
	address, accepted := acceptor(t)
	go func() {
		var open []net.Conn
		for c := range accepted {
			shakeHands(c)
			open = append(open, c)
		}
		for _, c := range open {
			c.Close()
		}
	}()
	none, err := credentials("")
	if err != nil {
		t.Fatal(err)
	}
	c, err := connect("nats://"+address, userFeed, none, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	payload := make([]byte, 1<<20)
	began := time.Now()
	for c.up.Load() {
		c.Publish("tocsin.v1.live.token.revoked", payload)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the publisher waited for %v", took)
	}
}
