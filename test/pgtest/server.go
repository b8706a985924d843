package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tocsin-auth/tocsin/test/pgtest/loopback"
)

// patience is how long anything of PostgreSQL's may take: it is for what hangs, not for a slow disk or a machine with other work.
const patience = 5 * time.Minute

// Server is a PostgreSQL server in which databases can be made. It is safe for concurrent use.
type Server struct {
	admin *url.URL // of the database that exists in every server
	// Of a private server only:
	dir    string
	binary string
	port   *loopback.Port
	cmd    *exec.Cmd
	exited chan error
}

// Start starts a private server, or connects to the one that TOCSIN_TEST_POSTGRES_URL names. The caller MUST call
// [Server.Stop]; should this process die before, the server dies with it (on Linux).
func Start(ctx context.Context) (*Server, error) {
	if given := os.Getenv(EnvURL); given != "" {
		admin, err := url.Parse(given)
		if err != nil {
			return nil, errors.New(EnvURL + " is not a URL") // without its value, which may hold a password
		}
		return &Server{admin: admin}, nil
	}
	binary, err := findBinaries()
	if err != nil {
		return nil, err
	}
	return startPrivate(ctx, binary)
}

func startPrivate(ctx context.Context, binary string) (*Server, error) {
	return create(ctx, binary, rand.Text(), (*Server).initialize)
}

// create fills a new data directory and starts a server on it.
func create(ctx context.Context, binary, password string, fill func(s *Server, ctx context.Context, password string) error) (*Server, error) {
	dir, err := os.MkdirTemp("", "pgtest-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, binary: binary}
	if err := fill(s, ctx, password); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if s.port, err = loopback.Reserve(); err == nil {
		err = s.launch(ctx, password)
	}
	if err != nil {
		return nil, errors.Join(err, s.forget())
	}
	return s, nil
}

// initialize makes the data directory.
func (s *Server) initialize(ctx context.Context, password string) error {
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
		return err
	}
	return s.asOwner(ctx, []string{s.dir, secret}, filepath.Join(s.binary, "initdb"), "-D", s.data(), "-U", "postgres",
		"--auth=scram-sha-256", "--pwfile="+secret, "--no-locale", "--encoding=UTF8", "--no-sync")
}

// asOwner gives paths to the server's user and runs a program as that.
func (s *Server) asOwner(ctx context.Context, paths []string, program string, args ...string) error {
	owner, err := serverUser()
	if err != nil {
		return err
	}
	if owner != nil {
		for _, path := range paths {
			if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
				return err
			}
		}
	}
	cmd := exec.CommandContext(ctx, program, args...)
	s.prepare(cmd, owner)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, out)
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }
func (s *Server) log() string  { return filepath.Join(s.dir, "log") }

// prepare lets a command run as the server's user, in a directory that this user may enter.
func (s *Server) prepare(cmd *exec.Cmd, owner *syscall.Credential) {
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
}

// launch starts the server and waits until it answers.
func (s *Server) launch(ctx context.Context, password string) error {
	owner, err := serverUser()
	if err != nil {
		return err
	}
	log, err := os.Create(s.log())
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(filepath.Join(s.binary, "postgres"), "-D", s.data(), "-p", strconv.Itoa(s.port.Number),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=300",
		"-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on",
		"-c", "track_commit_timestamp=on") // for what measures from the commit on
	s.prepare(s.cmd, owner)
	dieWithParent(s.cmd.SysProcAttr)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.spawn(); err != nil {
		return err
	}
	s.admin = &url.URL{Scheme: "postgres", User: url.UserPassword("postgres", password), Path: "/postgres",
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port.Number)), RawQuery: "sslmode=disable"}
	if err := s.ready(ctx); err != nil {
		said, _ := os.ReadFile(s.log())
		return fmt.Errorf("postgres: %w: %s", errors.Join(err, s.kill()), said)
	}
	return nil
}

// spawn starts the process and a goroutine that owns it until it has exited. The goroutine keeps its thread, because
// the kernel's death signal is sent when the thread dies that started the process.
func (s *Server) spawn() error {
	started := make(chan error)
	s.exited = make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.exited <- s.cmd.Wait()
		}
	}()
	return <-started
}

func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		conn, err := pgx.Connect(ctx, s.admin.String())
		if err == nil {
			tick.Stop()
			return conn.Close(ctx)
		}
		select {
		case exit := <-s.exited:
			s.exited <- exit
			return fmt.Errorf("exited at once: %w", err)
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func (s *Server) private() bool { return s.cmd != nil }

// Stop stops a private server and removes its files. A server that was given is left alone.
func (s *Server) Stop() error {
	if !s.private() {
		return nil
	}
	return errors.Join(s.kill(), s.forget())
}

// forget lets go of what a private server had besides its process.
func (s *Server) forget() error {
	err := os.RemoveAll(s.dir)
	if s.port != nil {
		err = errors.Join(err, s.port.Close())
	}
	return err
}

// kill ends the server at once: an orderly shutdown would write to disk what is about to be deleted.
func (s *Server) kill() error {
	if err := s.cmd.Process.Signal(syscall.SIGQUIT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(patience):
		return errors.Join(errors.New("postgres didn't stop"), s.cmd.Process.Kill())
	}
}

// URL returns the URL of the server's own database, in which tests should make nothing.
func (s *Server) URL() string { return s.admin.String() }

// CreateDatabase makes an empty database and returns its URL.
func (s *Server) CreateDatabase(ctx context.Context) (string, error) {
	name := "tocsin_test_" + strings.ToLower(rand.Text()[:16])
	if err := s.exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return "", err
	}
	database := *s.admin
	database.Path = "/" + name
	return database.String(), nil
}

// DropDatabase drops a database that [Server.CreateDatabase] made, whoever is still connected.
func (s *Server) DropDatabase(ctx context.Context, database string) error {
	u, err := url.Parse(database)
	if err != nil || !strings.HasPrefix(u.Path, "/tocsin_test_") {
		return errors.New("not a database of this package")
	}
	return s.exec(ctx, "DROP DATABASE "+pgx.Identifier{u.Path[1:]}.Sanitize()+" WITH (FORCE)")
}

func (s *Server) exec(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, s.admin.String())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}
