package store

import (
	"crypto/rand"
	"fmt"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// NewID makes a UUIDv7 for a credential or an object whose age a revocation may be about. Its time is that of the
// database, but never before the revocation watermark, which the transaction locks for that (see [Tx.ShareAuthority]).
// Ids of one transaction ascend. After an error it returns "", and the transaction can't be committed.
func (tx *Tx) NewID() string {
	if tx.readOnly && tx.failed == nil {
		tx.failed = fmt.Errorf("new id: %w", ErrReadOnly)
	}
	if !tx.locked {
		if _, err := tx.ShareAuthority(tx.ctx); err != nil {
			return ""
		}
	}
	return tx.newID(tx.watermark)
}

// newID makes a UUIDv7 (RFC 9562, with the fraction of the millisecond in rand_a) not before some milliseconds.
func (tx *Tx) newID(atLeast int64) string {
	now := tx.Now()
	if now == 0 {
		return ""
	}
	stamp := uint64(now/1000)<<12 | uint64(now%1000)*4096/1000
	tx.stamp = max(stamp, uint64(atLeast)<<12, tx.stamp+1)
	var id events.ID
	rand.Read(id[8:])
	for i := range 6 {
		id[i] = byte(tx.stamp >> (12 + 8*(5-i)))
	}
	id[6] = 0x70 | byte(tx.stamp>>8)&0x0f
	id[7] = byte(tx.stamp)
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// madeBefore reports whether an id is older than a watermark in milliseconds. An id without a time is.
func madeBefore(id string, watermark int64) bool {
	parsed, err := events.ParseID(id)
	return err != nil || !parsed.IsV7() || parsed.Millis() < watermark
}
