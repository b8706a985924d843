package load

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU time in /proc, which is the same on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// CPU returns how much CPU time this process and its descendants have used, by what name calls them.
func CPU(name func(pid int, program string) string) (map[string]time.Duration, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	parents, all := map[int]int{}, map[int]usage{}
	for _, file := range files {
		u, err := read(file)
		if err != nil {
			continue // it has ended
		}
		parents[u.pid], all[u.pid] = u.parent, u
	}
	used := map[string]time.Duration{}
	for pid, u := range all {
		if descends(parents, pid, os.Getpid()) {
			used[name(pid, u.program)] += u.used
		}
	}
	return used, nil
}

// usage is one process.
type usage struct {
	pid, parent int
	program     string
	used        time.Duration
}

// read takes the fields of /proc/PID/stat: the program's name stands in brackets, and may hold anything.
func read(file string) (u usage, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return u, err
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return u, fmt.Errorf("%s: no name in brackets", file)
	}
	u.program = string(b[open+1 : end])
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 13 {
		return u, fmt.Errorf("%s: %d fields", file, len(fields))
	}
	numbers := make([]int, 4)
	for i, text := range []string{strings.TrimSpace(string(b[:open])), fields[1], fields[11], fields[12]} {
		if numbers[i], err = strconv.Atoi(text); err != nil {
			return u, err
		}
	}
	u.pid, u.parent, u.used = numbers[0], numbers[1], time.Duration(numbers[2]+numbers[3])*tick
	return u, nil
}

func descends(parents map[int]int, pid, from int) bool {
	for ; pid > 1; pid = parents[pid] {
		if pid == from {
			return true
		}
	}
	return false
}
