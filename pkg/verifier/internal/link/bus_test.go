package link

import (
	"bufio"
	"fmt"
	"net"
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

// halfServer is a NATS server that ends its first connection after the handshake, and never says a word on later ones.
func halfServer(t *testing.T) (address string, end chan<- struct{}, silent <-chan struct{}) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	ending, silence := make(chan struct{}), make(chan struct{}, 1)
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
			t.Cleanup(func() { c.Close() })
			select {
			case silence <- struct{}{}:
			default:
			}
		}
	}()
	return l.Addr().String(), ending, silence
}

// A client that shakes hands with a server that doesn't answer holds its lock for as long as it waits. Whether there is a
// connection has to be known all the while: elite calls and the verifier's own state ask first.
func TestConnectedDoesNotWaitForAHandshake(t *testing.T) {
	address, end, silent := halfServer(t)
	options, err := natsOptions(Config{URL: address, Service: "cars"})
	if err != nil {
		t.Fatal(err)
	}
	notices := make(chan notice, 16)
	b, err := dialNATS(t.Context(), "nats://"+address, options, func(n notice, _ error) { notices <- n })
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if n := <-notices; n != noticeConnected || !b.Connected() {
		t.Fatalf("notice %v, connected %v", n, b.Connected())
	}
	close(end)
	<-silent
	if n := <-notices; n != noticeDisconnected {
		t.Fatalf("notice %v", n)
	}
	began := time.Now()
	if b.Connected() {
		t.Error("connected to a server that doesn't answer")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v to say so", took)
	}
}
