package auth

import (
	"context"
	"errors"
	"slices"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
)

// MaxReported bounds the keys of one report.
const MaxReported = 100

// Report is what became of reported keys, for operators: whoever reported them MUST NOT be told.
type Report struct {
	Revoked   int // now, by this report
	Dead      int // before
	Unknown   int
	Malformed int
	Change    Change
}

// ReportKeys ends API keys that somebody says have leaked. Anybody may say so: who holds a key could have it revoked at
// [Service.RevokeToken] as well. The only errors are [ErrInvalidRequest] for too many, and [ErrUnavailable].
func (s *Service) ReportKeys(ctx context.Context, keys []string, from Client) (Report, error) {
	if len(keys) > MaxReported {
		return Report{}, invalid("keys", "must have at most 100 entries")
	}
	hashes, report := hashesOf(keys)
	var found []store.APIKey
	err := s.view(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.APIKeysByHash(ctx, hashes)
		return err
	})
	if err != nil {
		return Report{}, err
	}
	report.Unknown = len(hashes) - len(found)
	if len(found) == 0 {
		return report, nil
	}
	report.Change, err = s.change(ctx, Caller{Client: from.cut()}, func(w *work) error {
		report.Revoked, report.Dead = 0, 0 // it may run again
		for _, key := range found {        // in the order of ids, as everybody locks several
			if err := w.revokeReported(ctx, key, &report); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && report.Revoked > 0 {
		s.log.WarnContext(ctx, "API keys were reported as leaked, and revoked", "keys", report.Revoked, "ip", from.IP)
	}
	return report, err
}

// hashesOf drops what can't be a key, and repetitions.
func hashesOf(keys []string) (hashes [][]byte, report Report) {
	for _, key := range slices.Compact(slices.Sorted(slices.Values(keys))) {
		if _, err := apikey.Parse(key); err != nil {
			report.Malformed++
			continue
		}
		hashes = append(hashes, hashSecret(key))
	}
	return hashes, report
}

func (w *work) revokeReported(ctx context.Context, key store.APIKey, report *Report) error {
	before := len(w.done.EventIDs)
	err := w.revokeKey(ctx, key.ID, deed{action: "api_key.reported", reason: "reported as leaked"})
	switch {
	case errors.Is(err, store.ErrNotFound): // deleted meanwhile
		report.Dead++
		return nil
	case err != nil:
		return err
	case len(w.done.EventIDs) == before:
		report.Dead++
	default:
		report.Revoked++
	}
	return nil
}
