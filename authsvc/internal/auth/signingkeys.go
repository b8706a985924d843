package auth

import "context"

// RotateSigningKey makes a new token signing key and returns its kid, for admins. An emergency drops the old keys
// everywhere at once, so every living access token dies.
func (s *Service) RotateSigningKey(ctx context.Context, c Caller, emergency bool) (string, Change, error) {
	if err := s.RequireAdmin(c); err != nil {
		return "", Change{}, err
	}
	key, err := s.ring.NewKey()
	if err != nil {
		return "", Change{}, err
	}
	var kid string
	done, err := s.change(ctx, c, func(w *work) error {
		if emergency {
			// Before all other locks: nobody issues anything by a token of the old keys while they are dropped.
			if _, err := w.LockAuthority(ctx); err != nil {
				return err
			}
		}
		if err := admin(ctx, w.Tx, c); err != nil {
			return err
		}
		rotated, ids, err := s.ring.Rotate(ctx, w.Tx, key, emergency)
		if err != nil {
			return err
		}
		kid, w.done.EventIDs = rotated, ids
		return w.audit(ctx, c.UserID, ids, deed{action: "signing_key.rotated", target: targetKeySet,
			detail: map[string]any{"kid": kid, "emergency": emergency}})
	})
	return kid, done, err
}
