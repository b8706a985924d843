package loopback

import (
	"fmt"
	"net"
	"testing"
)

func TestAReservedPortIsGivenToNobodyElse(t *testing.T) {
	const ports, others = 400, 4000 // of 14,000: without a reservation some hundred of the others get one of the ports
	reserved := make(map[int]bool)
	for range ports {
		p, err := Reserve()
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if reserved[p.Number] {
			t.Fatalf("port %d was reserved twice", p.Number)
		}
		reserved[p.Number] = true
	}
	for range others {
		l := listen(t, 0)
		if reserved[l.Addr().(*net.TCPAddr).Port] {
			t.Fatalf("%s is reserved", l.Addr())
		}
		l.Close()
	}
}

func TestAServerListensOnAReservedPortAgainAndAgain(t *testing.T) {
	p, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range 3 {
		l := listen(t, p.Number)
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		server.Close() // the server's side is the one that waits for stray packets
		client.Close()
		l.Close()
		if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
			c.Close()
			t.Fatal("a port on which nobody listens takes connections")
		}
	}
}

func listen(t *testing.T, port int) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	return l
}
