package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

type plansCmd struct {
	Get plansGetCmd `cmd:"" default:"1" help:"Show all plans."`
	Set plansSetCmd `cmd:"" help:"Replace all plans. Users whose plan is left out have no limits."`
}

type planList struct {
	Plans []struct {
		Name   string `json:"name"`
		Limits []struct {
			Resource string `json:"resource"`
			Limit    int64  `json:"limit"`
			Window   string `json:"window"`
		} `json:"limits"`
	} `json:"plans"`
	Unlimited map[string]int `json:"unlimited"`
}

// plans prints a row for each limit, and the plans that limit nothing.
func (p *printer) plans(body json.RawMessage) error {
	if p.json {
		return p.raw(body)
	}
	var got planList
	if err := json.Unmarshal(body, &got); err != nil {
		return fmt.Errorf("read the plans: %w", err)
	}
	var rows [][]string
	for _, plan := range got.Plans {
		if len(plan.Limits) == 0 {
			rows = append(rows, []string{plan.Name, "-", "-", "-"})
		}
		for _, l := range plan.Limits {
			rows = append(rows, []string{plan.Name, l.Resource, fmt.Sprint(l.Limit), l.Window})
		}
	}
	if err := p.table("PLAN RESOURCE LIMIT WINDOW", rows); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(got.Unlimited)) {
		fmt.Fprintf(p.notes, "%d users have the plan %s, which isn't among these: nothing limits them\n", got.Unlimited[name], printable(name))
	}
	return nil
}

type plansGetCmd struct{}

func (plansGetCmd) Run(ctx context.Context, c *client, out *printer) error {
	a, err := c.call(ctx, "GET", "/v1/admin/plans", nil)
	if err != nil {
		return err
	}
	return out.plans(a.body)
}

type plansSetCmd struct {
	File string `arg:"" help:"The plans as JSON, as plans get --json prints them; - for standard input."`
}

func (cmd plansSetCmd) Run(ctx context.Context, c *client, out *printer, stdin io.Reader) error {
	content, err := readFile(cmd.File, stdin)
	if err != nil {
		return err
	}
	var list map[string]any
	if err := json.Unmarshal(content, &list); err != nil {
		return fmt.Errorf("%w: the plans are not a JSON object: %w", errUsage, err)
	}
	delete(list, "unlimited") // which plans get says, and nobody sets
	a, err := c.call(ctx, "PUT", "/v1/admin/plans", list)
	if err != nil {
		return err
	}
	return out.plans(a.body)
}

func readFile(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(stdin, maxAnswer))
	}
	return os.ReadFile(name)
}

type usageCmd struct {
	Show  usageShowCmd  `cmd:"" default:"withargs" help:"Show what counts against your limits, or a user's."`
	Reset usageResetCmd `cmd:"" help:"Forget what a user has spent in the windows that are open."`
}

type usageItem struct {
	Resource string           `json:"resource"`
	Window   string           `json:"window"`
	Limit    int64            `json:"limit"`
	Used     int64            `json:"used"`
	Held     int64            `json:"held"`
	ResetsAt *time.Time       `json:"resets_at"`
	Services map[string]int64 `json:"services"`
}

type usageShowCmd struct {
	User string `arg:"" optional:"" help:"Id or username (for admins)."`
}

func (cmd usageShowCmd) Run(ctx context.Context, c *client, out *printer) error {
	path := "/v1/me/usage"
	if cmd.User != "" {
		id, err := c.userID(ctx, cmd.User)
		if err != nil {
			return err
		}
		path = "/v1/admin/users/" + id + "/usage"
	}
	a, err := c.call(ctx, "GET", path, nil)
	if err != nil {
		return err
	}
	return list(out, a.body, "RESOURCE WINDOW LIMIT USED HELD RESETS SERVICES", func(u usageItem) []string {
		var services []string
		for _, name := range slices.Sorted(maps.Keys(u.Services)) {
			services = append(services, fmt.Sprintf("%s=%d", name, u.Services[name]))
		}
		return []string{u.Resource, u.Window, fmt.Sprint(u.Limit), fmt.Sprint(u.Used), fmt.Sprint(u.Held), when(u.ResetsAt), strings.Join(services, ",")}
	})
}

type usageResetCmd struct {
	who
	Resource string `help:"Of this resource alone."`
}

func (cmd usageResetCmd) Run(ctx context.Context, c *client, out *printer) error {
	query := url.Values{}
	setIf(query, "resource", cmd.Resource)
	below := "/usage"
	if len(query) > 0 {
		below += "?" + query.Encode()
	}
	if _, err := cmd.call(ctx, c, "DELETE", below, nil); err != nil {
		return err
	}
	return out.fields(nil, "reset", cmd.User)
}
