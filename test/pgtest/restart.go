package pgtest

import "context"

// StartPrivate is [Start] without a look at TOCSIN_TEST_POSTGRES_URL, for tests that restart the server. The error is
// [ErrMissing] where there are no binaries.
func StartPrivate(ctx context.Context) (*Server, error) {
	binary, err := findBinaries()
	if err != nil {
		return nil, err
	}
	return startPrivate(ctx, binary)
}

// Restart ends a private server as a crash of its machine's processes would, and starts it again on its data and its
// port. It is not safe for use while others use the server.
func (s *Server) Restart(ctx context.Context) error {
	password, _ := s.admin.User.Password()
	if err := s.kill(); err != nil {
		return err
	}
	return s.launch(ctx, password)
}

// Addr is where the server listens, as host:port.
func (s *Server) Addr() string { return s.admin.Host }
