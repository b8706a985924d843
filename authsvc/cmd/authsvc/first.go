package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
	"github.com/tocsin-auth/tocsin/authsvc/internal/bus"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// firstService may join the embedded bus from the first start, so that there is something to try.
const firstService = "resourcesvc"

// firstMembers returns the services that may join the bus. At the first start with an embedded server it adds the first
// one; once there is an administrator, services are theirs to add and remove.
func (p *program) firstMembers(ctx context.Context) ([]store.Service, error) {
	var rows []store.Service
	err := p.db.Update(ctx, func(tx *store.Tx) (err error) {
		if rows, err = tx.Services(ctx); err != nil || len(rows) > 0 || p.cfg.NATSURL != "" {
			return err
		}
		admins, err := tx.CountAdmins(ctx)
		if err != nil || admins > 0 {
			return err
		}
		local, err := bus.LocalService(p.dir.Path, firstService)
		if err != nil {
			return err
		}
		rows = append(rows, local)
		return tx.InsertService(ctx, local)
	})
	return rows, err
}

// bootstrap makes the first administrator.
func (p *program) bootstrap(ctx context.Context) error {
	path := p.dir.File("admin-password")
	made, err := p.domain.Bootstrap(ctx, auth.BootstrapRequest{Username: p.cfg.BootstrapAdmin, Password: p.cfg.BootstrapAdminPassword,
		Keep: func(password string) error { return writeSecret(path, password) }})
	var refusal *auth.Error
	switch {
	case errors.As(err, &refusal) && (refusal.Code == auth.CodeWeakPassword || refusal.Code == auth.CodeInvalidRequest):
		return fmt.Errorf("%w: TOCSIN_BOOTSTRAP_ADMIN_PASSWORD: %s", errUsage, refusal.Message)
	case err != nil:
		return fmt.Errorf("make the first administrator: %w", err)
	case made && p.cfg.BootstrapAdminPassword == "":
		fmt.Fprintf(p.stdout, "authsvc: the password of the administrator %s is in %s\n", p.cfg.BootstrapAdmin, path)
	case made:
		p.log.Info("made the first administrator", "username", p.cfg.BootstrapAdmin)
	}
	return nil
}

// writeSecret puts a secret into a file that only this user can read, whole or not at all.
func writeSecret(path, secret string) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // after the renaming there is nothing to remove
	_, err = file.WriteString(secret + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
