package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

type feedKeysCmd struct {
	Rotate feedKeysRotateCmd `cmd:"" help:"Make a new feed key; the old one leaves when nobody needs it any more."`
}

type feedKeysRotateCmd struct {
	Ahead     *time.Duration `help:"How long the new key is published before it signs (default: 10m)."`
	Emergency bool           `help:"Drop the old keys at once: somebody else may have one."`
}

func (cmd feedKeysRotateCmd) Run(ctx context.Context, c *client, out *printer) error {
	body := map[string]any{"emergency": cmd.Emergency}
	if cmd.Ahead != nil {
		body["ahead"] = cmd.Ahead.String()
	}
	a, err := c.call(ctx, "POST", "/v1/admin/feed-keys/rotate", body)
	if err != nil {
		return err
	}
	var made struct {
		KID     string    `json:"kid"`
		SignsAt time.Time `json:"signs_at"`
	}
	if err := json.Unmarshal(a.body, &made); err != nil {
		return fmt.Errorf("read the key: %w", err)
	}
	return out.fields(a.body, "kid", made.KID, "signs", when(&made.SignsAt))
}
