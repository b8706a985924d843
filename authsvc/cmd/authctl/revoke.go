package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"
)

// waitFlags say how long a change that ends trust waits before it answers.
type waitFlags struct {
	Wait    string        `enum:"none,published,fleet" default:"published" help:"none, published (sent and stored) or fleet (applied by every verifier)."`
	Timeout time.Duration `default:"2s" help:"Longest wait; the change holds anyway."`
}

func (f waitFlags) path(path string) string {
	query := url.Values{"wait": {f.Wait}, "timeout": {f.Timeout.String()}}
	return path + "?" + query.Encode()
}

type revokeCmd struct {
	User         string   `xor:"what" required:"" help:"Everything of this user (id or name), API keys too."`
	Users        []string `xor:"what" required:"" help:"The same for several user ids."`
	Role         string   `xor:"what" required:"" help:"Everything of all users with this role."`
	Session      string   `xor:"what" required:"" help:"One session."`
	JTI          string   `name:"jti" xor:"what" required:"" help:"One access token, by its jti."`
	TokenFile    string   `xor:"what" required:"" help:"The token in this file, - for standard input."`
	Key          string   `xor:"what" required:"" help:"One API key, by its id."`
	IssuedBefore string   `xor:"what" required:"" help:"Everything issued before this time (RFC 3339)."`
	All          bool     `xor:"what" required:"" help:"Everything of everybody."`
	Keys         bool     `help:"With --issued-before and --all: API keys too."`
	Reason       string   `help:"Goes to the audit log."`
	waitFlags
}

func (cmd revokeCmd) Run(ctx context.Context, c *client, out *printer, stdin io.Reader) error {
	body, err := cmd.body(ctx, c, stdin)
	if err != nil {
		return err
	}
	if cmd.Keys {
		body["keys"] = true
	}
	if cmd.Reason != "" {
		body["reason"] = cmd.Reason
	}
	a, err := c.call(ctx, "POST", cmd.path("/v1/admin/revocations"), body)
	if err != nil {
		return err
	}
	return out.receipt(a)
}

// body holds the one selector that was given.
func (cmd revokeCmd) body(ctx context.Context, c *client, stdin io.Reader) (map[string]any, error) {
	switch {
	case cmd.User != "":
		id, err := c.userID(ctx, cmd.User)
		return map[string]any{"user_id": id}, err
	case len(cmd.Users) > 0:
		return map[string]any{"user_ids": cmd.Users}, nil
	case cmd.Role != "":
		return map[string]any{"role": cmd.Role}, nil
	case cmd.Session != "":
		return map[string]any{"session_id": cmd.Session}, nil
	case cmd.JTI != "":
		return map[string]any{"jti": cmd.JTI}, nil
	case cmd.TokenFile != "":
		token, err := readToken(cmd.TokenFile, stdin)
		return map[string]any{"token": token}, err
	case cmd.Key != "":
		return map[string]any{"api_key_id": cmd.Key}, nil
	case cmd.IssuedBefore != "":
		if _, err := time.Parse(time.RFC3339, cmd.IssuedBefore); err != nil {
			return nil, fmt.Errorf("%w: --issued-before is not a time such as 2006-01-02T15:04:05Z", errUsage)
		}
		return map[string]any{"issued_before": cmd.IssuedBefore}, nil
	default:
		return map[string]any{"all": true}, nil
	}
}

func readToken(path string, stdin io.Reader) (string, error) {
	if path == "-" {
		content, err := io.ReadAll(io.LimitReader(stdin, 64<<10))
		return strings.TrimSpace(string(content)), err
	}
	content, err := os.ReadFile(path)
	return strings.TrimSpace(string(content)), err
}
