package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Standby makes a streaming standby of a private server. From when it returns on, each commit of the server waits until
// the standby has it on its disk, and hangs while there is no standby. The caller MUST call [Server.Stop] of both. Of a
// standby that was promoted, another one can be made.
func (s *Server) Standby(ctx context.Context) (*Server, error) {
	password, _ := s.admin.User.Password()
	name := "standby_" + strings.ToLower(rand.Text()[:8])
	standby, err := create(ctx, s.binary, password, func(standby *Server, ctx context.Context, _ string) error {
		return standby.copyFrom(ctx, s.admin, name)
	})
	if err != nil {
		return nil, err
	}
	if err := s.waitFor(ctx, name); err != nil {
		return nil, errors.Join(err, standby.Stop())
	}
	return standby, nil
}

// copyFrom fills the data directory with a base backup that follows the primary by a slot.
func (s *Server) copyFrom(ctx context.Context, primary *url.URL, name string) error {
	program, err := findTool("pg_basebackup")
	if err != nil {
		return err
	}
	source := *primary
	source.RawQuery += "&application_name=" + name
	err = s.asOwner(ctx, []string{s.dir}, program, "--pgdata="+s.data(), "--dbname="+source.String(), "--write-recovery-conf",
		"--create-slot", "--slot="+name, "--wal-method=stream", "--checkpoint=fast", "--no-sync")
	if err != nil {
		return err
	}
	// For whom the primary waits was copied as well; once promoted, this server has nobody to wait for.
	file, err := os.OpenFile(filepath.Join(s.data(), "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString("synchronous_standby_names = ''\n")
	return errors.Join(err, file.Close())
}

// waitFor makes the standby of this name synchronous, and returns when it is.
func (s *Server) waitFor(ctx context.Context, name string) error {
	conn, err := pgx.Connect(ctx, s.admin.String())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + name + "'", "SELECT pg_reload_conf()"} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		var synchronous bool
		err := conn.QueryRow(ctx, `SELECT count(*) > 0 FROM pg_stat_replication
			WHERE application_name = $1 AND state = 'streaming' AND sync_state = 'sync'`, name).Scan(&synchronous)
		if err != nil || synchronous {
			tick.Stop()
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s isn't synchronous: %w", name, ctx.Err())
		}
	}
}

// Promote makes a standby the primary, and returns when it takes writes. Its former primary MUST be unreachable by then.
func (s *Server) Promote(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.admin.String())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var promoted bool
	if err := conn.QueryRow(ctx, "SELECT pg_promote(true, $1)", int(patience.Seconds())).Scan(&promoted); err != nil {
		return err
	}
	if !promoted {
		return fmt.Errorf("the standby was not promoted within %v", patience)
	}
	return nil
}
