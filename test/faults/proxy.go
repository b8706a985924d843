package faults

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is a TCP connection between two processes that can be cut, slowed down and made a black hole. What it holds
// back in a black hole comes through when that ends, late, as retransmitted packets do.
type Proxy struct {
	listener net.Listener
	running  sync.WaitGroup
	meddler  *meddler // of a proxy that understands NATS

	mu      sync.Mutex
	changed *sync.Cond
	targets []string // tried in this order
	hold    [2]bool  // to the target, from the target
	delay   time.Duration
	rate    int // bytes a second to the client; 0: as fast as it goes
	closed  bool
	conns   map[net.Conn]bool
}

// Directions of a black hole.
const (
	toTarget = iota
	fromTarget
)

// StartProxy listens on a free port until the test ends.
func StartProxy(t testing.TB, targets ...string) *Proxy {
	t.Helper()
	return startProxy(t, nil, targets)
}

// StartBusProxy is a proxy to NATS servers, message by message.
func StartBusProxy(t testing.TB, memory *Memory, targets ...string) *Proxy {
	t.Helper()
	return startProxy(t, memory.meddler(), targets)
}

func startProxy(t testing.TB, m *meddler, targets []string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, meddler: m, targets: targets, conns: map[net.Conn]bool{}}
	p.changed = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Aim changes where new connections go to.
func (p *Proxy) Aim(targets ...string) { p.set(func() { p.targets = targets }) }

// Hold makes the proxy a black hole in one direction or both.
func (p *Proxy) Hold(to, from bool) {
	p.set(func() { p.hold = [2]bool{to, from} })
}

// Delay makes every piece of data late.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.delay = d }) }

// Throttle lets so many bytes a second through to the client; 0: all of them.
func (p *Proxy) Throttle(rate int) { p.set(func() { p.rate = rate }) }

// Cut ends every connection that is open.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

func (p *Proxy) close() {
	p.listener.Close()
	p.set(func() { p.closed = true })
	p.Cut()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(c) })
	}
}

// serve carries one connection. In a black hole it is open and silent: the target is dialled when the hole ends.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	if !p.keep(client) {
		return
	}
	defer p.forget(client)
	if _, ok := p.pass(toTarget); !ok {
		return
	}
	target := p.dial()
	if target == nil {
		return
	}
	defer target.Close()
	if !p.keep(target) {
		return
	}
	defer p.forget(target)
	var back sync.WaitGroup
	copy := p.copy
	if p.meddler != nil {
		copy = p.copyFrames
	}
	back.Go(func() { copy(client, target, fromTarget) })
	copy(target, client, toTarget)
	back.Wait()
}

func (p *Proxy) dial() net.Conn {
	p.mu.Lock()
	targets := p.targets
	p.mu.Unlock()
	for _, addr := range targets {
		if c, err := net.DialTimeout("tcp", addr, 10*time.Second); err == nil {
			return c
		}
	}
	return nil
}

// copy ends both connections when one side has ended.
func (p *Proxy) copy(to, from net.Conn, direction int) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			delay, ok := p.pass(direction)
			if !ok {
				return
			}
			time.Sleep(delay) // this is the fault
			if !p.write(to, buffer[:n], direction) {
				return
			}
		}
		if err != nil {
			if err == io.EOF {
				p.pass(direction) // the end of a connection doesn't get through a black hole either
			}
			return
		}
	}
}

// copyFrames is [Proxy.copy] for NATS, message by message.
func (p *Proxy) copyFrames(to, from net.Conn, direction int) {
	defer to.Close()
	defer from.Close()
	reader, l := newFrameReader(from), &lane{meddler: p.meddler}
	var out []byte
	for {
		arrives := reader.waits()
		f, err := reader.next()
		if err != nil {
			p.pass(direction) // the end doesn't get through a black hole either
			return
		}
		delay, ok := p.pass(direction)
		if !ok {
			return
		}
		if arrives {
			time.Sleep(delay) // this is the fault
		}
		out = out[:0]
		for _, f := range l.through(f) {
			out = f.append(out)
		}
		if !p.write(to, out, direction) {
			return
		}
	}
}

// throttlePause is between the pieces that go through a proxy that is throttled.
const throttlePause = 20 * time.Millisecond

// write reports whether all was written.
func (p *Proxy) write(to net.Conn, b []byte, direction int) bool {
	for len(b) > 0 {
		piece := b
		if rate := p.throttled(direction); rate > 0 {
			piece = b[:min(len(b), max(1, rate*int(throttlePause)/int(time.Second)))]
			time.Sleep(throttlePause) // this is the fault
		}
		n, err := to.Write(piece)
		if err != nil {
			return false
		}
		b = b[n:]
	}
	return true
}

func (p *Proxy) throttled(direction int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if direction == toTarget || p.closed {
		return 0
	}
	return p.rate
}

// pass waits until data may go on, and returns with what delay; false when the proxy has ended.
func (p *Proxy) pass(direction int) (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.hold[direction] && !p.closed {
		p.changed.Wait()
	}
	return p.delay, !p.closed
}

func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
	return !p.closed
}

func (p *Proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}
