//go:build linux

package pgtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Freeze stops every process of a private server where it is: sockets stay open, nobody answers. Those that the server
// begins in between are stopped too, since the one that would begin them is the first to stop.
func (s *Server) Freeze() error { return s.signalAll(syscall.SIGSTOP) }

// Thaw lets them go on.
func (s *Server) Thaw() error { return s.signalAll(syscall.SIGCONT) }

// Crash is kill -9 of every process of a private server, frozen or not, as when its machine dies. It returns when the
// first of them is gone. [Server.Stop] still has to be called.
func (s *Server) Crash() error {
	if err := s.Freeze(); err != nil { // the first one begins no more of them, and they stay its children
		return err
	}
	children, err := s.children()
	if err != nil {
		return err
	}
	for _, pid := range append(children, s.cmd.Process.Pid) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			return fmt.Errorf("process %d of PostgreSQL: %w", pid, err)
		}
	}
	s.exited <- <-s.exited
	return nil
}

func (s *Server) signalAll(sig syscall.Signal) error {
	if err := s.cmd.Process.Signal(sig); err != nil {
		return err
	}
	children, err := s.children()
	if err != nil {
		return err
	}
	for _, pid := range children {
		if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
			return fmt.Errorf("process %d of PostgreSQL: %w", pid, err)
		}
	}
	return nil
}

// PIDs are the server's processes.
func (s *Server) PIDs() ([]int, error) {
	children, err := s.children()
	return append(children, s.cmd.Process.Pid), err
}

// children are the processes that the server has begun.
func (s *Server) children() (all []int, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	for _, file := range stats {
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && parent(file) == s.cmd.Process.Pid {
			all = append(all, pid)
		}
	}
	return all, nil
}

// parent reads the second field behind the name of a process, 0 when the process is gone.
func parent(stat string) int {
	content, err := os.ReadFile(stat)
	if err != nil {
		return 0
	}
	fields := bytes.Fields(content[bytes.LastIndexByte(content, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	ppid, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0
	}
	return ppid
}
