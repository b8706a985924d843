package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

type keysCmd struct {
	List    keysListCmd    `cmd:"" default:"withargs" help:"List your API keys, or with --all everybody's."`
	Create  keysCreateCmd  `cmd:"" help:"Create an API key. It is shown once."`
	Rotate  keysRotateCmd  `cmd:"" help:"Replace a key; the old one lives on for the overlap."`
	Suspend keysSuspendCmd `cmd:"" help:"Suspend a key at once."`
	Resume  keysResumeCmd  `cmd:"" help:"Let a suspended key work again."`
	Expire  keysExpireCmd  `cmd:"" help:"Let a key end earlier, as the old one of a rotation before its overlap is over. It stays in the list."`
	Delete  keysDeleteCmd  `cmd:"" help:"End a key for good."`
}

type apiKey struct {
	ID        string     `json:"id"`
	UserID    string     `json:"user_id"`
	Name      string     `json:"name"`
	Mode      string     `json:"mode"`
	Prefix    string     `json:"prefix"`
	Key       string     `json:"key"`
	Scopes    []string   `json:"scopes"`
	Status    string     `json:"status"`
	Disabled  bool       `json:"disabled"`
	By        string     `json:"disabled_by"`
	ExpiresAt *time.Time `json:"expires_at"`
	CreatedAt *time.Time `json:"created_at"`
	CreatedBy string     `json:"created_by"`
	UsedAt    *time.Time `json:"last_used_at"`
	UsedBy    string     `json:"last_used_service"`
}

// state is the status, and who suspended the key where that was an admin: its owner can't resume it.
func (k apiKey) state() string {
	if k.Status == "suspended" && k.By == "admin" {
		return "suspended-by-admin"
	}
	return k.Status
}

type keysListCmd struct {
	All      bool   `help:"All users' keys (for admins)."`
	Prefix   string `help:"With --all: keys that begin so."`
	User     string `help:"With --all: keys of this user (id or name)."`
	Expiring string `help:"With --all: keys that expire within this duration, or before this time."`
	pageFlags
}

func (cmd keysListCmd) Run(ctx context.Context, c *client, out *printer) error {
	path := "/v1/me/api-keys?" + cmd.query().Encode()
	if cmd.All {
		query, err := cmd.adminQuery(ctx, c)
		if err != nil {
			return err
		}
		path = "/v1/admin/api-keys?" + query.Encode()
	} else if cmd.Prefix+cmd.User+cmd.Expiring != "" {
		return fmt.Errorf("%w: --prefix, --user and --expiring go with --all", errUsage)
	}
	a, err := c.call(ctx, "GET", path, nil)
	if err != nil {
		return err
	}
	return list(out, a.body, "ID NAME MODE PREFIX USER STATUS EXPIRES CREATED CREATED-BY USED USED-AT", func(k apiKey) []string {
		return []string{k.ID, k.Name, k.Mode, k.Prefix, k.UserID, k.state(), when(k.ExpiresAt), when(k.CreatedAt), k.CreatedBy, when(k.UsedAt), k.UsedBy}
	})
}

func (cmd keysListCmd) adminQuery(ctx context.Context, c *client) (url.Values, error) {
	query := cmd.query()
	setIf(query, "prefix", cmd.Prefix)
	setIf(query, "expiring", cmd.Expiring)
	if cmd.User == "" {
		return query, nil
	}
	id, err := c.userID(ctx, cmd.User)
	query.Set("user", id)
	return query, err
}

// issued prints a new key: the one time that it is seen.
func (p *printer) issued(a answer) error {
	var got struct {
		Key      apiKey  `json:"api_key"`
		Previous *apiKey `json:"previous"`
	}
	if err := json.Unmarshal(a.body, &got); err != nil {
		return fmt.Errorf("read the key: %w", err)
	}
	pairs := []string{"key", got.Key.Key, "id", got.Key.ID, "name", got.Key.Name, "mode", got.Key.Mode}
	if got.Previous != nil {
		pairs = append(pairs, "previous", got.Previous.ID, "previous until", when(got.Previous.ExpiresAt))
	}
	return p.fields(a.body, pairs...)
}

type keysCreateCmd struct {
	Name    string        `arg:"" help:"What the key is for."`
	Mode    string        `enum:"live,test" default:"live" help:"live or test."`
	Expires time.Duration `help:"Life of the key (default: no end)."`
	Scopes  []string      `help:"Roles that the key may use (default: all of the user's)."`
}

func (cmd keysCreateCmd) Run(ctx context.Context, c *client, out *printer) error {
	body := map[string]any{"name": cmd.Name, "mode": cmd.Mode}
	if cmd.Expires < 0 {
		return fmt.Errorf("%w: --expires must be positive", errUsage)
	}
	if cmd.Expires > 0 {
		body["expires_at"] = time.Now().Add(cmd.Expires).UTC().Format(time.RFC3339)
	}
	if len(cmd.Scopes) > 0 {
		body["scopes"] = cmd.Scopes
	}
	a, err := c.call(ctx, "POST", "/v1/me/api-keys", body)
	if err != nil {
		return err
	}
	return out.issued(a)
}

// whichKey names one of the caller's keys.
type whichKey struct {
	ID string `arg:"" help:"Id of the key."`
}

func (k whichKey) path() string { return "/v1/me/api-keys/" + url.PathEscape(k.ID) }

// anyKey names a key, of anybody with --any.
type anyKey struct {
	whichKey
	Any bool `help:"Anybody's key (for admins)."`
}

func (k anyKey) path() string {
	if k.Any {
		return "/v1/admin/api-keys/" + url.PathEscape(k.ID)
	}
	return k.whichKey.path()
}

type keysRotateCmd struct {
	whichKey
	Overlap time.Duration `default:"24h" help:"How long the old key lives on; 0s ends it at once."`
	waitFlags
}

func (cmd keysRotateCmd) Run(ctx context.Context, c *client, out *printer) error {
	path := cmd.waitFlags.path(cmd.whichKey.path() + "/rotate")
	a, err := c.call(ctx, "POST", path, map[string]any{"overlap": cmd.Overlap.String()})
	if err != nil {
		return err
	}
	return out.issued(a)
}

type keysSuspendCmd struct {
	anyKey
	waitFlags
}

func (cmd keysSuspendCmd) Run(ctx context.Context, c *client, out *printer) error {
	return cmd.change(ctx, c, out, cmd.waitFlags, "disabled", true)
}

type keysResumeCmd struct {
	anyKey
	waitFlags
}

func (cmd keysResumeCmd) Run(ctx context.Context, c *client, out *printer) error {
	return cmd.change(ctx, c, out, cmd.waitFlags, "disabled", false)
}

type keysExpireCmd struct {
	anyKey
	In time.Duration `default:"0s" help:"How long it lives on; 0s ends it at once."`
	waitFlags
}

func (cmd keysExpireCmd) Run(ctx context.Context, c *client, out *printer) error {
	if cmd.In < 0 {
		return fmt.Errorf("%w: --in must not be negative", errUsage)
	}
	ends := time.Unix(0, 0) // has passed by every clock
	if cmd.In > 0 {
		ends = time.Now().Add(cmd.In)
	}
	return cmd.change(ctx, c, out, cmd.waitFlags, "expires_at", ends.UTC().Format(time.RFC3339))
}

// change sets one property of a key and prints the key.
func (k anyKey) change(ctx context.Context, c *client, out *printer, wait waitFlags, property string, value any) error {
	a, err := c.call(ctx, "PATCH", wait.path(k.path()), map[string]any{property: value})
	if err != nil {
		return err
	}
	var key apiKey
	if err := json.Unmarshal(a.body, &key); err != nil {
		return fmt.Errorf("read the key: %w", err)
	}
	return out.fields(a.body, "id", key.ID, "name", key.Name, "scopes", strings.Join(key.Scopes, ","), "disabled", yesNo(key.Disabled),
		"status", key.state(), "expires", when(key.ExpiresAt))
}

type keysDeleteCmd struct {
	anyKey
	waitFlags
}

func (cmd keysDeleteCmd) Run(ctx context.Context, c *client, out *printer) error {
	a, err := c.call(ctx, "DELETE", cmd.waitFlags.path(cmd.anyKey.path()), nil)
	if err != nil {
		return err
	}
	return out.receipt(a)
}
