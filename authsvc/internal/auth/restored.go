package auth

import (
	"context"
	"slices"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// AdoptKeySet is called for a database that was restored from a backup, with the hashes of the token keys that were announced
// last, by each epoch since. Where one isn't that of the database's set, its keys may be those that an emergency dropped, and
// verifiers that have dropped them never take them back: they leave the set for good, and a new key takes their place, so that
// every living access token dies. Sessions don't.
func (s *Service) AdoptKeySet(ctx context.Context, announced []events.Hash) error {
	var kids []string
	err := s.view(ctx, func(tx *store.Tx) error {
		keys, err := tx.SigningKeys(ctx)
		for _, k := range keys {
			if k.Purpose == store.PurposeToken {
				kids = append(kids, k.KID)
			}
		}
		return err
	})
	ours := events.KeySetHash(kids)
	if err != nil || !slices.ContainsFunc(announced, func(other events.Hash) bool { return other != ours }) {
		return err
	}
	key, err := s.ring.NewKey()
	if err != nil {
		return err
	}
	s.log.WarnContext(ctx, "the signing keys have changed since the backup; every access token dies with those of the backup")
	_, err = s.change(ctx, Caller{}, func(w *work) error {
		if _, err := w.LockAuthority(ctx); err != nil {
			return err
		}
		kid, ids, err := s.ring.Rotate(ctx, w.Tx, key, true)
		if err != nil {
			return err
		}
		w.done.EventIDs = ids
		return w.audit(ctx, actorSystem, ids, deed{action: "signing_key.rotated", target: targetKeySet, reason: "restored from a backup",
			detail: map[string]any{"kid": kid, "emergency": true}})
	})
	return err
}
