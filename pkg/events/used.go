package events

import (
	"encoding/json"
	"fmt"
)

// Limits of one message about used keys.
const (
	MaxUsedKeys = 256
	// MaxUsed bounds its bytes: so many keys with every number as long as it may be.
	MaxUsed = 32 << 10
	// MaxUsedAgo is a day in seconds: longer nobody keeps a use to himself.
	MaxUsedAgo = 24 * 60 * 60
)

// Used tells which API keys a service has accepted of late. Nobody answers, and nothing is decided by it: it may be lost, come
// twice or not at all, and isn't signed. Whose it is the subject says, which only that service may publish on.
type Used struct {
	Keys []UsedKey `json:"keys"`
}

// UsedKey is when a key was accepted last: as an age, since the clocks of two machines differ.
type UsedKey struct {
	KeyID string `json:"key_id"`
	Ago   int64  `json:"ago_s"`
}

// DecodeUsed reads a message and checks every field.
func DecodeUsed(body []byte) (Used, error) {
	var u Used
	if len(body) > MaxUsed {
		return u, fmt.Errorf("%w: %d bytes", ErrInvalid, len(body))
	}
	if err := json.Unmarshal(body, &u); err != nil {
		return u, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(u.Keys) == 0 || len(u.Keys) > MaxUsedKeys {
		return u, fmt.Errorf("%w: %d keys", ErrInvalid, len(u.Keys))
	}
	for _, k := range u.Keys {
		if _, err := ParseID(k.KeyID); err != nil {
			return u, fmt.Errorf("%w: key_id", ErrInvalid)
		}
		if k.Ago < 0 || k.Ago > MaxUsedAgo {
			return u, fmt.Errorf("%w: ago_s", ErrInvalid)
		}
	}
	return u, nil
}
