package faults

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
)

// echo listens and answers each line with itself.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

// line sends one and returns what comes back; an error when nothing does within the limit.
func line(c net.Conn, text string, limit time.Duration) (string, error) {
	c.SetDeadline(time.Time{})
	if _, err := io.WriteString(c, text+"\n"); err != nil {
		return "", err
	}
	c.SetReadDeadline(time.Now().Add(limit))
	return bufio.NewReader(c).ReadString('\n')
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// passes is how long data may take that nothing holds back; silence is how long none is waited for.
const (
	passes  = machine.Patience
	silence = 50 * time.Millisecond
)

func TestProxyHoldsBackAndLetsThroughLate(t *testing.T) {
	for name, direction := range map[string][2]bool{"both ways": {true, true}, "to": {true, false}, "from": {false, true}} {
		t.Run(name, func(t *testing.T) {
			p := StartProxy(t, echo(t))
			c := dial(t, p)
			if _, err := line(c, "before", passes); err != nil {
				t.Fatal(err)
			}
			p.Hold(direction[0], direction[1])
			if got, err := line(c, "held", silence); err == nil {
				t.Errorf("%q came through a black hole", got)
			}
			p.Hold(false, false)
			if got, err := line(c, "after", passes); err != nil || got != "held\n" {
				t.Errorf("what was held came as %q, %v", got, err)
			}
		})
	}
}

func TestProxyAcceptsInABlackHoleAndIsSilent(t *testing.T) {
	p := StartProxy(t, echo(t))
	p.Hold(true, true)
	c := dial(t, p)
	if got, err := line(c, "held", silence); err == nil {
		t.Errorf("%q came through a black hole", got)
	}
	p.Hold(false, false)
	if got, err := line(c, "after", passes); err != nil || got != "held\n" {
		t.Errorf("what was held came as %q, %v", got, err)
	}
}

func TestProxyDelaysCutsAndAimsAnew(t *testing.T) {
	p := StartProxy(t, "127.0.0.1:1", echo(t)) // the first one listens nowhere
	c := dial(t, p)
	p.Delay(30 * time.Millisecond)
	began := time.Now()
	if _, err := line(c, "late", passes); err != nil || time.Since(began) < 60*time.Millisecond {
		t.Errorf("there and back took %v, %v", time.Since(began), err)
	}
	p.Cut()
	if got, err := line(c, "cut", passes); err == nil {
		t.Errorf("%q came through a connection that was cut", got)
	}
	p.Aim("127.0.0.1:1")
	if got, err := line(dial(t, p), "nowhere", passes); err == nil {
		t.Errorf("%q came from nowhere", got)
	}
}
