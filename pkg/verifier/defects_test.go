//go:build tocsin_defects

package verifier

import (
	"io"
	"net/http"
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

// A derived token tells nothing of what has become of the tokens and keys that it rests on.
func TestDefenceParentsIsNeeded(t *testing.T) {
	for _, gone := range []bool{false, true} {
		r := newRig(t)
		defect.Parents = gone
		r.apply(events.TokenRevoked{JTI: parentToken})
		_, code := r.verify(Bearer(derived()))
		defect.Parents = false
		if accepted := code == ""; accepted != gone {
			t.Errorf("defence gone: %v, and what rests on a revoked token is accepted: %v", gone, accepted)
		}
	}
}

// A process that was frozen past the bound goes on where it was: if the first thing that runs is a handler, only the judgement
// of what it writes stops it.
func TestDefencePiecesIsNeeded(t *testing.T) {
	for _, gone := range []bool{false, true} {
		r := newUnwatchedRig(t) // nobody notices
		defect.Pieces = gone
		res := r.serveLong(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "before ")
			_ = http.NewResponseController(w).Flush()
			r.clock.Advance(DefaultMaxStaleness + 1)
			_, _ = io.WriteString(w, "after")
		})
		body, _ := io.ReadAll(res.Body)
		defect.Pieces = false
		want := map[bool]string{false: "before ", true: "before after"}[gone]
		if string(body) != want {
			t.Errorf("defence gone: %v, and %q was sent, want %q", gone, body, want)
		}
	}
}
