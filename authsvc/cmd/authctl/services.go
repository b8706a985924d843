package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"time"
)

type servicesCmd struct {
	List   servicesListCmd   `cmd:"" default:"withargs" help:"List the services on the bus."`
	Add    servicesAddCmd    `cmd:"" help:"Let a service join; its NKey seed is shown once."`
	Remove servicesRemoveCmd `cmd:"" help:"Shut a service out."`
}

type service struct {
	Name      string     `json:"name"`
	CreatedAt *time.Time `json:"created_at"`
	Seed      string     `json:"nkey_seed"`
	Config    string     `json:"nats_config"`
}

type servicesListCmd struct{}

func (servicesListCmd) Run(ctx context.Context, c *client, out *printer) error {
	a, err := c.call(ctx, "GET", "/v1/admin/services", nil)
	if err != nil {
		return err
	}
	return list(out, a.body, "NAME CREATED", func(s service) []string { return []string{s.Name, when(s.CreatedAt)} })
}

type servicesAddCmd struct {
	Name     string `arg:"" help:"[a-z0-9_-], at most 32 characters."`
	SeedFile string `type:"path" help:"Write the seed to this new file (mode 0600) instead of the terminal."`
}

func (cmd servicesAddCmd) Run(ctx context.Context, c *client, out *printer) error {
	a, err := c.call(ctx, "POST", "/v1/admin/services", map[string]any{"name": cmd.Name})
	if err != nil {
		return err
	}
	var s service
	if err := json.Unmarshal(a.body, &s); err != nil {
		return fmt.Errorf("read the service: %w", err)
	}
	body := a.body
	if cmd.SeedFile != "" {
		if err := writeNew(cmd.SeedFile, s.Seed+"\n"); err != nil {
			return fmt.Errorf("the service was added, but its seed could not be kept; remove and add it again: %w", err)
		}
		s.Seed, body = "", nil
	}
	if err := out.fields(body, "name", s.Name, "nkey seed", s.Seed, "seed file", cmd.SeedFile); err != nil || out.json || s.Config == "" {
		return err
	}
	_, err = fmt.Fprintf(out.w, "\n%s\n", s.Config)
	return err
}

func writeNew(path, content string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := file.WriteString(content); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}

type servicesRemoveCmd struct {
	Name string `arg:"" help:"Name of the service."`
}

func (cmd servicesRemoveCmd) Run(ctx context.Context, c *client, out *printer) error {
	if _, err := c.call(ctx, "DELETE", "/v1/admin/services/"+url.PathEscape(cmd.Name), nil); err != nil {
		return err
	}
	return out.fields(nil, "removed", cmd.Name)
}

type verifiersCmd struct{}

type verifierState struct {
	Service  string     `json:"service"`
	Instance string     `json:"instance"`
	State    string     `json:"state"`
	Applied  uint64     `json:"applied_seq"`
	Lag      *int64     `json:"lag"`
	LastSeen *time.Time `json:"last_seen"`
}

func (verifiersCmd) Run(ctx context.Context, c *client, out *printer) error {
	a, err := c.call(ctx, "GET", "/v1/admin/verifiers", nil)
	if err != nil {
		return err
	}
	return list(out, a.body, "SERVICE INSTANCE STATE APPLIED LAG LAST-SEEN", func(v verifierState) []string {
		lag := "-"
		if v.Lag != nil {
			lag = fmt.Sprint(*v.Lag)
		}
		return []string{v.Service, v.Instance, v.State, fmt.Sprint(v.Applied), lag, when(v.LastSeen)}
	})
}
