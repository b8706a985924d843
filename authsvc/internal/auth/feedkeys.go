package auth

import (
	"context"
	"errors"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/keyring"
)

// DefaultFeedKeyAhead is how long a new feed key waits before it signs unless asked otherwise; MaxFeedKeyAhead the longest.
const (
	DefaultFeedKeyAhead = keyring.DefaultFeedAhead
	MaxFeedKeyAhead     = 90 * 24 * time.Hour
)

// FeedKey is a new feed key.
type FeedKey struct {
	KID     string    `json:"kid"`
	SignsAt time.Time `json:"signs_at"`
}

// RotateFeedKey publishes a new feed key, which signs the feed after ahead, for admins. An emergency drops the old keys at
// once, and ahead MUST be 0. It is [ErrConflict] while another new key waits. It has no event: see [keyring.Ring.RotateFeed].
func (s *Service) RotateFeedKey(ctx context.Context, c Caller, ahead time.Duration, emergency bool) (FeedKey, error) {
	if err := s.RequireAdmin(c); err != nil {
		return FeedKey{}, err
	}
	if ahead < 0 || ahead > MaxFeedKeyAhead {
		return FeedKey{}, invalid("ahead", "must be between 0s and 2160h")
	}
	if emergency && ahead != 0 {
		return FeedKey{}, invalid("ahead", "must be left out in an emergency: the new key signs at once")
	}
	key, err := s.ring.NewFeedKey()
	if err != nil {
		return FeedKey{}, err
	}
	made := FeedKey{KID: key.KID()}
	_, err = s.change(ctx, c, func(w *work) error {
		if err := admin(ctx, w.Tx, c); err != nil {
			return err
		}
		signsAt, err := s.ring.RotateFeed(ctx, w.Tx, key, ahead, emergency)
		if errors.Is(err, keyring.ErrFeedKeyWaits) {
			return &Error{Code: CodeConflict, Message: "a new feed key waits already; an emergency would drop it"}
		}
		if err != nil {
			return err
		}
		made.SignsAt = fromMicros(signsAt)
		return w.audit(ctx, c.UserID, nil, deed{action: "feed_key.rotated", target: targetFeedKeys,
			detail: map[string]any{"kid": made.KID, "signs_at": signsAt, "emergency": emergency}})
	})
	return made, err
}
