package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"

	"github.com/jackc/pgx/v5"
)

// Dump writes a backup of a database to a file, as of the moment at which it begins, whoever is writing.
func Dump(ctx context.Context, database, file string) error {
	return tool(ctx, "pg_dump", "--format=custom", "--file="+file, "--dbname="+database)
}

// Restore replaces a database that [Server.CreateDatabase] made by what a backup holds. Its sessions are ended.
func Restore(ctx context.Context, database, file string) error {
	u, err := url.Parse(database)
	if err != nil {
		return err
	}
	admin := *u
	admin.Path = "/postgres"
	s := &Server{admin: &admin}
	if err := s.DropDatabase(ctx, database); err != nil {
		return err
	}
	if err := s.exec(ctx, "CREATE DATABASE "+pgx.Identifier{u.Path[1:]}.Sanitize()+" TEMPLATE template0 CONNECTION LIMIT 0"); err != nil {
		return err
	}
	// Nobody but the superuser that restores gets in before all is there.
	if err := tool(ctx, "pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", "--dbname="+database, file); err != nil {
		return err
	}
	return s.exec(ctx, "ALTER DATABASE "+pgx.Identifier{u.Path[1:]}.Sanitize()+" CONNECTION LIMIT -1")
}

func tool(ctx context.Context, name string, args ...string) error {
	path, err := findTool(name)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
