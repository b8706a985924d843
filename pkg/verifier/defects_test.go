//go:build tocsin_defects

package verifier

import (
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier/internal/defect"
)

// A revocation that becomes visible while a token is looked up is missed by that look-up only. Stamped with a version
// that is read after it, the look-up's answer would stand for good.
func TestDefenceStampIsNeeded(t *testing.T) {
	for _, gone := range []bool{false, true} {
		r := newRig(t)
		token := Bearer(mint(nil))
		defect.Stamp = gone
		defect.Between = func() { r.apply(events.TokenRevoked{JTI: aliceToken}) }
		r.want("", token) // the event came too late for this one
		defect.Stamp, defect.Between = false, nil
		if !gone {
			r.apply(events.TokenRevoked{JTI: aliceToken})
		}
		_, code := r.verify(token)
		if accepted := code == ""; accepted != gone {
			t.Errorf("defence gone: %v, and the next use is accepted: %v", gone, accepted)
		}
	}
}
