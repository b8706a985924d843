package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/seal"
)

func (c *config) readGrantsKeys() error {
	text, err := secret("TOCSIN_GRANTS_KEY")
	if err != nil || text == "" {
		return err
	}
	if c.grantsKeys, err = seal.Parse(text); err != nil {
		return fmt.Errorf("TOCSIN_GRANTS_KEY %w", err)
	}
	return nil
}

// openGrantsKeys returns the keys of grants: those that are configured, else those in a file of the data directory. The file is made
// unless the database knows of a key already, so that a lost one is noticed instead of replaced.
func (c config) openGrantsKeys(known bool) (seal.Keys, error) {
	path := filepath.Join(c.DataDir, "grants.key")
	var keys seal.Keys
	var err error
	switch {
	case c.grantsKeys != nil:
		return c.grantsKeys, nil
	case known:
		keys, err = seal.ReadFile(path)
	default:
		if err = c.makeDataDir(); err == nil {
			keys, err = seal.CreateFile(path)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it isn't set, and there is no %s", errGrantsKey, path)
	}
	return keys, err
}

// sealGrants makes the database seal the grants of jobs, and seals those that an earlier release has left.
func (c config) sealGrants(ctx context.Context, db *store) error {
	known, err := db.hasGrantsKey(ctx)
	if err != nil {
		return err
	}
	keys, err := c.openGrantsKeys(known)
	if err != nil {
		return err
	}
	if err := db.useKeys(ctx, keys); err != nil {
		return err
	}
	return db.sealGrants(ctx)
}
