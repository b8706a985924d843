package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one program. A nil process has stopped.
type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{} // closed when the program has ended; then err is set
	err   error

	mu     sync.Mutex
	urls   []string      // guarded by mu: every URL that it printed
	more   chan struct{} // guarded by mu: closed and replaced when urls grew
	output io.Writer
}

func startProcess(name string, cfg Config, env []string) (*process, error) {
	p := &process{name: name, ended: make(chan struct{}), more: make(chan struct{}), output: cfg.Output}
	p.cmd = exec.Command(filepath.Join(cfg.Bin, name), "serve")
	p.cmd.Env = append(environment(), env...)
	// A group of its own: a terminal's Ctrl-C reaches the supervisor only, which stops the programs in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(p.cmd.SysProcAttr)
	p.cmd.WaitDelay = time.Second
	started := make(chan error)
	go p.live(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// live starts the program and returns when it has ended. It keeps its thread, which the program's life hangs on.
func (p *process) live(started chan<- error) {
	defer close(p.ended)
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	reader, writer := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = writer, writer
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.readLines(reader)
	}()
	p.err = p.cmd.Wait()
	_ = writer.Close() // never fails
	<-read
}

var urlPattern = regexp.MustCompile(`\b(http|nats)://[0-9A-Za-z.:\[\]-]+`)

// readLines passes on what the program prints and notes the URLs in it.
func (p *process) readLines(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			fmt.Fprintf(p.output, "%-11s | %s\n", p.name, strings.TrimRight(line, "\r\n"))
			p.note(urlPattern.FindAllString(line, -1))
		}
		if err != nil {
			return
		}
	}
}

func (p *process) note(urls []string) {
	if len(urls) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.urls = append(p.urls, urls...)
	close(p.more)
	p.more = make(chan struct{})
}

// printed returns the first URL with that prefix which the program prints.
func (p *process) printed(ctx context.Context, prefix string) (string, error) {
	for {
		url, more := p.find(prefix)
		if url != "" {
			return url, nil
		}
		select {
		case <-more:
		case <-p.ended:
			return "", p.failure()
		case <-ctx.Done():
			return "", fmt.Errorf("%s did not say where it listens: %w", p.name, ctx.Err())
		}
	}
}

func (p *process) find(prefix string) (url string, more <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, url := range p.urls {
		if strings.HasPrefix(url, prefix) {
			return url, nil
		}
	}
	return "", p.more
}

// failure describes the end of a program that should have gone on.
func (p *process) failure() error {
	if p.err == nil {
		return fmt.Errorf("%s has ended", p.name)
	}
	return fmt.Errorf("%s has ended: %w", p.name, p.err)
}

// stopTimeout is how long a program may take to end before it is killed.
const stopTimeout = time.Minute

func (p *process) stop() error {
	if p == nil {
		return nil
	}
	select {
	case <-p.ended:
		return nil // whoever waited has been told
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.ended:
	case <-timeout.C:
		_ = p.cmd.Process.Kill() // it fails only when the program has just ended
		<-p.ended
		return fmt.Errorf("%s did not stop within %v and was killed", p.name, stopTimeout)
	}
	if exit := new(exec.ExitError); errors.As(p.err, &exit) {
		return fmt.Errorf("stop %s: %w", p.name, p.err)
	}
	return nil
}
