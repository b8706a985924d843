package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

type usersCmd struct {
	List    usersListCmd    `cmd:"" default:"withargs" help:"List users."`
	Get     usersGetCmd     `cmd:"" help:"Show one user."`
	Roles   usersRolesCmd   `cmd:"" help:"Set all roles of a user."`
	Plan    usersPlanCmd    `cmd:"" help:"Set the plan of a user."`
	Disable usersDisableCmd `cmd:"" help:"Disable a user: sessions end for good, keys sleep."`
	Enable  usersEnableCmd  `cmd:"" help:"Enable a user again."`
	Revoke  usersRevokeCmd  `cmd:"" help:"End all sessions and tokens of a user; keys live on."`
	Delete  usersDeleteCmd  `cmd:"" help:"Delete a user with all sessions and keys."`
}

type user struct {
	ID        string     `json:"id"`
	Username  string     `json:"username"`
	Email     string     `json:"email"`
	Roles     []string   `json:"roles"`
	Plan      string     `json:"plan"`
	Disabled  bool       `json:"disabled"`
	CreatedAt *time.Time `json:"created_at"`
}

// pageFlags choose one page of a list.
type pageFlags struct {
	Limit  int    `default:"50" help:"Length of a page, at most 200."`
	Cursor string `help:"Where the page before ended."`
}

func (f pageFlags) query() url.Values {
	query := url.Values{"limit": {fmt.Sprint(f.Limit)}}
	setIf(query, "cursor", f.Cursor)
	return query
}

func setIf(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

type usersListCmd struct {
	Query string `help:"Only users that match."`
	pageFlags
}

func (cmd usersListCmd) Run(ctx context.Context, c *client, out *printer) error {
	query := cmd.query()
	setIf(query, "query", cmd.Query)
	a, err := c.call(ctx, "GET", "/v1/admin/users?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	return list(out, a.body, "ID USERNAME ROLES PLAN DISABLED CREATED", func(u user) []string {
		return []string{u.ID, u.Username, strings.Join(u.Roles, ","), u.Plan, yesNo(u.Disabled), when(u.CreatedAt)}
	})
}

func (p *printer) user(a answer) error {
	var u user
	if err := json.Unmarshal(a.body, &u); err != nil {
		return fmt.Errorf("read the user: %w", err)
	}
	err := p.fields(a.body, "id", u.ID, "username", u.Username, "email", u.Email, "roles", strings.Join(u.Roles, ","),
		"plan", u.Plan, "disabled", yesNo(u.Disabled), "created", when(u.CreatedAt))
	if err != nil || p.json || len(a.receipt) == 0 {
		return err
	}
	return p.receipt(a)
}

// who names a user by id or username.
type who struct {
	User string `arg:"" help:"Id or username."`
}

// call makes a call about the user; below is what follows the user's path in the admin API.
func (w who) call(ctx context.Context, c *client, method, below string, body any) (answer, error) {
	id, err := c.userID(ctx, w.User)
	if err != nil {
		return answer{}, err
	}
	return c.call(ctx, method, "/v1/admin/users/"+id+below, body)
}

// userID finds the id of a username; an id is its own.
func (c *client) userID(ctx context.Context, name string) (string, error) {
	if uuidPattern.MatchString(name) {
		return name, nil
	}
	query := url.Values{"query": {name}, "limit": {"200"}}
	for {
		a, err := c.call(ctx, "GET", "/v1/admin/users?"+query.Encode(), nil)
		if err != nil {
			return "", err
		}
		var found page[user]
		if err := json.Unmarshal(a.body, &found); err != nil {
			return "", fmt.Errorf("read the users: %w", err)
		}
		for _, u := range found.Items {
			if u.Username == strings.ToLower(name) {
				return u.ID, nil
			}
		}
		if found.Next == "" {
			return "", fmt.Errorf("there is no user %q", name)
		}
		query.Set("cursor", found.Next)
	}
}

type usersGetCmd struct{ who }

func (cmd usersGetCmd) Run(ctx context.Context, c *client, out *printer) error {
	a, err := cmd.who.call(ctx, c, "GET", "", nil)
	if err != nil {
		return err
	}
	return out.user(a)
}

// put changes one property of a user.
func (w who) put(ctx context.Context, c *client, out *printer, wait waitFlags, property string, body any) error {
	a, err := w.call(ctx, c, "PUT", wait.path("/"+property), body)
	if err != nil {
		return err
	}
	return out.user(a)
}

// end makes a call that answers with a receipt.
func (w who) end(ctx context.Context, c *client, out *printer, method, below string) error {
	a, err := w.call(ctx, c, method, below, nil)
	if err != nil {
		return err
	}
	return out.receipt(a)
}

type usersRolesCmd struct {
	who
	Roles []string `arg:"" help:"The roles from now on."`
	waitFlags
}

func (cmd usersRolesCmd) Run(ctx context.Context, c *client, out *printer) error {
	return cmd.put(ctx, c, out, cmd.waitFlags, "roles", map[string]any{"roles": cmd.Roles})
}

type usersPlanCmd struct {
	who
	Plan string `arg:"" help:"The plan from now on."`
	waitFlags
}

func (cmd usersPlanCmd) Run(ctx context.Context, c *client, out *printer) error {
	return cmd.put(ctx, c, out, cmd.waitFlags, "plan", map[string]any{"plan": cmd.Plan})
}

type usersDisableCmd struct {
	who
	waitFlags
}

func (cmd usersDisableCmd) Run(ctx context.Context, c *client, out *printer) error {
	return cmd.put(ctx, c, out, cmd.waitFlags, "status", map[string]any{"disabled": true})
}

type usersEnableCmd struct {
	who
	waitFlags
}

func (cmd usersEnableCmd) Run(ctx context.Context, c *client, out *printer) error {
	return cmd.put(ctx, c, out, cmd.waitFlags, "status", map[string]any{"disabled": false})
}

type usersRevokeCmd struct {
	who
	waitFlags
}

func (cmd usersRevokeCmd) Run(ctx context.Context, c *client, out *printer) error {
	return cmd.end(ctx, c, out, "POST", cmd.waitFlags.path("/revoke"))
}

type usersDeleteCmd struct {
	who
	waitFlags
}

func (cmd usersDeleteCmd) Run(ctx context.Context, c *client, out *printer) error {
	return cmd.end(ctx, c, out, "DELETE", cmd.waitFlags.path(""))
}
