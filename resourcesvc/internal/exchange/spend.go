package exchange

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

const (
	// MaxSpent is how many grants the issuer takes at once.
	MaxSpent = 64
	// maxSpentBytes of them fit into a request, for which there are 64 KiB. One has 8 KiB at most.
	maxSpentBytes = 48 << 10
)

// Spend ends job grants for exchange: their jobs are over. Those that are good for nothing any more are no error. The errors are [ErrClient]
// and [ErrAway], after which some may be spent.
func (c *Client) Spend(ctx context.Context, grants []string) error {
	for len(grants) > 0 {
		n := fitting(grants)
		if err := c.spend(ctx, grants[:n]); err != nil {
			return err
		}
		grants = grants[n:]
	}
	return nil
}

// fitting returns how many grants fit into one request, at least one.
func fitting(grants []string) int {
	size := 0
	for i, grant := range grants {
		if size += len(grant); i > 0 && size > maxSpentBytes || i == MaxSpent {
			return i
		}
	}
	return len(grants)
}

func (c *Client) spend(ctx context.Context, grants []string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body, err := json.Marshal(map[string]any{"job_grants": grants})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.Issuer, "/")+"/v1/job-grants/spent", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: its URL is malformed", ErrAway)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Api-Key "+c.Key)
	res, err := c.HTTP.Do(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusNoContent:
		return nil
	case http.StatusUnauthorized:
		return ErrClient
	case http.StatusForbidden:
		return fmt.Errorf("%w: it lacks the role %s", ErrClient, neededRole(TypeJobGrant))
	}
	return fmt.Errorf("%w: it answered %d", ErrAway, res.StatusCode)
}
