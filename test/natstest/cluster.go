package natstest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tocsin-auth/tocsin/test/machine"
)

// Nodes is the size of a cluster.
const Nodes = 3

// Cluster is three servers as child processes, each running the shipped configuration.
type Cluster struct {
	keys
	file  string
	nodes [Nodes]*node
}

type node struct {
	env     []string
	client  int // port
	process *exec.Cmd
	stdin   io.Closer // the child ends when this does
	log     string
	store   string
	ready   chan error
}

// URL returns the client addresses of all nodes, separated by commas.
func (c *Cluster) URL() string {
	var urls []string
	for i := range c.nodes {
		urls = append(urls, c.NodeURL(i))
	}
	return strings.Join(urls, ",")
}

// NodeURL returns the client address of one node.
func (c *Cluster) NodeURL(i int) string { return fmt.Sprintf("nats://127.0.0.1:%d", c.nodes[i].client) }

// NodeName returns the server_name of a node, as JetStream names it as a leader.
func (c *Cluster) NodeName(i int) string { return fmt.Sprintf("n%d", i+1) }

// Connect returns a connection of a user to any node, closed at the test's end.
func (c *Cluster) Connect(t testing.TB, user string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	return c.connect(t, c.URL(), user, opts)
}

// Kill kills a node as kill -9 does.
func (c *Cluster) Kill(i int) { c.nodes[i].kill() }

// Freeze stops a node's process without ending it; Thaw lets it run on.
func (c *Cluster) Freeze(t testing.TB, i int) { c.nodes[i].signal(t, syscall.SIGSTOP) }

// Thaw lets a frozen node run on.
func (c *Cluster) Thaw(t testing.TB, i int) { c.nodes[i].signal(t, syscall.SIGCONT) }

// Wipe deletes the store of a killed node.
func (c *Cluster) Wipe(t testing.TB, i int) {
	t.Helper()
	if err := os.RemoveAll(c.nodes[i].store); err != nil {
		t.Fatal(err)
	}
}

// SaveStore copies the store of a node, as a crash at this moment would leave it, into a folder that doesn't exist yet.
func (c *Cluster) SaveStore(t testing.TB, i int, into string) {
	t.Helper()
	n := c.nodes[i]
	if n.process != nil {
		n.signal(t, syscall.SIGSTOP)
		defer n.signal(t, syscall.SIGCONT)
		machine.AwaitFrozen(t, n.process.Process.Pid)
	}
	if err := os.CopyFS(into, os.DirFS(n.store)); err != nil {
		t.Fatal(err)
	}
}

// PutStore gives a killed node the store that was saved in a folder.
func (c *Cluster) PutStore(t testing.TB, i int, from string) {
	t.Helper()
	c.Wipe(t, i)
	if err := os.CopyFS(c.nodes[i].store, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// Start starts a killed node again with its store. It doesn't wait: see [Cluster.WaitReady].
func (c *Cluster) Start(t testing.TB, i int) {
	t.Helper()
	running := 1
	for _, n := range c.nodes {
		if n.process != nil {
			running++
		}
	}
	c.nodes[i].start(t, running)
}

// WaitReady returns when every running node accepts clients and JetStream has a leader that all of them follow.
func (c *Cluster) WaitReady(t testing.TB) {
	t.Helper()
	limit := time.After(machine.Patience)
	for i, n := range c.nodes {
		if n.process == nil {
			continue
		}
		select {
		case err, running := <-n.ready:
			if running && err != nil {
				t.Fatalf("node %s: %v\n%s", c.NodeName(i), err, c.tails())
			}
		case <-limit:
			t.Fatalf("node %s isn't ready\n%s", c.NodeName(i), c.tails())
		}
	}
}

// start starts a node that is ready, if it leads, when it sees that many peers.
func (n *node) start(t testing.TB, peers int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(self)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a frozen one doesn't see its input end
	cmd.Env, cmd.Stderr = append(n.env, fmt.Sprintf("%s=%d", peersVariable, peers)), log
	if n.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.process, n.ready = cmd, make(chan error, 1)
	go awaitReady(stdout, n.ready)
}

// awaitReady reads the child's one line; it ends with the child.
func awaitReady(stdout io.Reader, ready chan<- error) {
	defer close(ready)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	switch {
	case err != nil:
		ready <- fmt.Errorf("ended before it was ready: %w", err)
	case line != readyLine:
		ready <- fmt.Errorf("said %q", line)
	}
}

func (n *node) kill() {
	if n.process == nil {
		return
	}
	n.process.Process.Kill()
	for range n.ready { // the reader must end before Wait closes its pipe
	}
	n.process.Wait()
	n.stdin.Close()
	n.process = nil
}

func (n *node) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := n.process.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// tails returns the ends of all nodes' logs, for a failing test: one that waits may wait for another that has died.
func (c *Cluster) tails() string {
	var text strings.Builder
	for i, n := range c.nodes {
		fmt.Fprintf(&text, "== %s\n%s", c.NodeName(i), n.tail())
	}
	return text.String()
}

// tail returns the end of the node's log, for a failing test.
func (n *node) tail() string {
	raw, _ := os.ReadFile(n.log)
	return string(raw[max(0, len(raw)-4000):])
}
