package auth

import (
	"context"
	"errors"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
)

// MaxSpent bounds how many grants one call spends.
const MaxSpent = 64

// SpendGrants ends job grants for exchange, for the services that have minted them: their jobs are over. When it has returned, nothing
// more comes of them. No verifier is told, as none takes a grant; what was exchanged before lives on for its five minutes at
// most, and isn't revoked with it. Who holds a grant that has leaked wants [Service.RevokeToken].
//
// What isn't a job grant of ours and the caller's mode is passed over: it is good for nothing here, and must not hold up the
// others. The errors are [ErrForbidden], [ErrInvalidRequest] and [ErrUnavailable].
func (s *Service) SpendGrants(ctx context.Context, c Caller, grants []string) error {
	if !c.Has(RoleQueue) {
		return ErrForbidden
	}
	if len(grants) > MaxSpent {
		return invalid("job_grants", "are too many for one call")
	}
	spent, ids, err := s.spendable(ctx, c, grants)
	if err != nil || len(spent) == 0 {
		return err
	}
	_, err = s.changeBriefly(ctx, c, func(w *work) error {
		w.Now() // read before the locks, so that nobody waits for it
		if err := w.record(ctx, deed{action: "job_grant.spent", target: targetJobGrants, detail: map[string]any{"jtis": ids}}); err != nil {
			return err
		}
		return w.SpendGrants(ctx, spent)
	})
	return err
}

// spendable reads the grants among texts.
func (s *Service) spendable(ctx context.Context, c Caller, texts []string) (grants []store.SpentGrant, ids []string, err error) {
	for _, text := range texts {
		found, err := s.verifyToken(ctx, text)
		switch g := found.claims; {
		case errors.Is(err, errNotAlive):
		case err != nil:
			return nil, nil, err
		case g.isJobGrant() && g.Mode == c.Mode:
			grants, ids = append(grants, store.SpentGrant{JTI: g.ID, EndsAt: g.Expires * 1e6}), append(ids, g.ID)
		}
	}
	return grants, ids, nil
}
