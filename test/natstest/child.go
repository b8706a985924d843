package natstest

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Variables of a child process: its configuration file, and how many peers a leader waits for.
const (
	childVariable = "TOCSIN_NATSTEST_CHILD"
	peersVariable = "TOCSIN_NATSTEST_PEERS"
)

// readyLine is what a child prints when it can be used.
const readyLine = "ready\n"

// readyPoll is how often a child looks whether JetStream has settled.
const readyPoll = 10 * time.Millisecond

func init() {
	if file := os.Getenv(childVariable); file != "" {
		if err := runChild(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// runChild is a nats-server until its parent ends.
func runChild(file string) error {
	options, err := server.ProcessConfigFile(file)
	if err != nil {
		return err
	}
	options.NoSigs, options.Logtime = true, true
	s, err := server.NewServer(options)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	peers, err := strconv.Atoi(os.Getenv(peersVariable))
	if err != nil {
		return err
	}
	for !settled(s, peers) {
		time.Sleep(readyPoll) // a process of its own; the test's waits are channels
	}
	fmt.Print(readyLine)
	io.Copy(io.Discard, os.Stdin) // ends with the parent
	s.Shutdown()
	return nil
}

// settled reports whether this node accepts clients and follows a JetStream leader; the leader waits for its peers.
func settled(s *server.Server, peers int) bool {
	if !s.ReadyForConnections(readyPoll) {
		return false
	}
	if !s.JetStreamIsClustered() {
		return true
	}
	if !s.JetStreamIsCurrent() {
		return false
	}
	return !s.JetStreamIsLeader() || len(s.JetStreamClusterPeers()) >= peers
}
