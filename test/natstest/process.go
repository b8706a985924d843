package natstest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/machine"
	"github.com/tocsin-auth/tocsin/test/pgtest/loopback"
)

// Process is one server with the permission set that ships, in a process of its own, so that what it costs can be told apart.
type Process struct {
	keys
	node    *node
	monitor string
}

// StartProcess starts one. The test's end stops it.
func StartProcess(t testing.TB, services ...string) *Process {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "nats.conf")
	p := &Process{node: &node{client: loopback.Free(t), log: filepath.Join(dir, "nats.log"), store: filepath.Join(dir, "jetstream")}}
	p.monitor = fmt.Sprintf("127.0.0.1:%d", loopback.Free(t))
	p.keys = writeSingle(t, dir, file, p.node.store, p.node.client, fmt.Sprintf("http: %q\n", p.monitor), services)
	p.node.env = append(os.Environ(), childVariable+"="+file)
	t.Cleanup(p.node.kill)
	p.node.start(t, 0)
	select {
	case err := <-p.node.ready:
		if err != nil {
			t.Fatalf("nats-server: %v\n%s", err, p.node.tail())
		}
	case <-time.After(machine.Patience):
		t.Fatalf("nats-server isn't ready\n%s", p.node.tail())
	}
	return p
}

// Host is where clients connect, host and port.
func (p *Process) Host() string { return fmt.Sprintf("127.0.0.1:%d", p.node.client) }

// Monitor is the base URL of the server's monitoring.
func (p *Process) Monitor() string { return "http://" + p.monitor }

// PID is the process's id.
func (p *Process) PID() int { return p.node.process.Process.Pid }
