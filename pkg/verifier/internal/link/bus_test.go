package link

import (
	"bufio"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// A connection that has gone silent must be given up in time for B = 3 s: the client does so at the ping after the last one
// that may stay unanswered, so that silence lasts one interval longer than they take. Half a second is left to be proven through another node.
func TestSilenceIsNoticedInTimeForAnotherNode(t *testing.T) {
	options, err := natsOptions(Config{URL: "nats://localhost", Service: "cars"})
	if err != nil {
		t.Fatal(err)
	}
	all := nats.GetDefaultOptions()
	for _, option := range options {
		if err := option(&all); err != nil {
			t.Fatal(err)
		}
	}
	if latest := all.PingInterval * time.Duration(all.MaxPingsOut+1); latest > 2500*time.Millisecond {
		t.Errorf("silence is noticed after up to %v", latest)
	}
}

// halfServer is a NATS server that ends its first connection after the handshake, and never says a word on later ones until it
// hangs up.
func halfServer(t *testing.T) (address string, end chan<- struct{}, silent <-chan struct{}, hangUp func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ending, silence, ended := make(chan struct{}), make(chan struct{}, 1), make(chan struct{})
	hangUp = sync.OnceFunc(func() { l.Close(); close(ended) })
	t.Cleanup(hangUp)
	go func() {
		first, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(first, "INFO {\"server_id\":\"half\",\"version\":\"2.12.0\",\"max_payload\":1048576,\"headers\":true}\r\n")
		lines := bufio.NewScanner(first)
		for lines.Scan() && lines.Text() != "PING" {
		}
		fmt.Fprintf(first, "PONG\r\n")
		<-ending
		first.Close()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { <-ended; c.Close() }()
			select {
			case silence <- struct{}{}:
			default:
			}
		}
	}()
	return l.Addr().String(), ending, silence, hangUp
}

// A client that shakes hands with a server that doesn't answer holds its lock for as long as it waits. Whether there is a
// connection has to be known all the while: elite calls and the verifier's own state ask first.
func TestConnectedDoesNotWaitForAHandshake(t *testing.T) {
	address, end, silent, hangUp := halfServer(t)
	forEver := nats.Timeout(time.Hour) // a handshake takes
	options, err := natsOptions(Config{URL: address, Service: "cars", NATSOptions: []nats.Option{forEver}})
	if err != nil {
		t.Fatal(err)
	}
	notices := make(chan notice, 16)
	b, err := dialNATS(t.Context(), "nats://"+address, options, func(n notice, _ error) { notices <- n })
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	defer hangUp() // or Close would wait for the handshake
	if n := <-notices; n != noticeConnected || !b.Connected() {
		t.Fatalf("notice %v, connected %v", n, b.Connected())
	}
	close(end)
	<-silent
	if n := <-notices; n != noticeDisconnected {
		t.Fatalf("notice %v", n)
	}
	known := make(chan bool, 1)
	go func() { known <- b.Connected() }()
	select {
	case connected := <-known:
		if connected {
			t.Error("connected to a server that doesn't answer")
		}
	case <-time.After(time.Minute):
		t.Error("not known before the handshake ends")
	}
}
