package prometheus

import (
	"strings"
	"testing"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

type fixed verifier.Stats

func (f fixed) Stats() verifier.Stats { return verifier.Stats(f) }

func TestCollectorShowsTheStats(t *testing.T) {
	c := NewCollector(fixed{
		State: events.StateFresh, ProofAge: 250 * time.Millisecond, Applied: 7, Accepted: 3,
		Refused: map[verifier.Code]uint64{verifier.CodeRevoked: 2}, CatchUps: map[string]uint64{"stream": 1},
	})
	want := `
# HELP tocsin_verifier_accepted_total Requests accepted.
# TYPE tocsin_verifier_accepted_total counter
tocsin_verifier_accepted_total 3
# HELP tocsin_verifier_proof_age_seconds Time since the last accepted proof was asked for; 0 before the first.
# TYPE tocsin_verifier_proof_age_seconds gauge
tocsin_verifier_proof_age_seconds 0.25
# HELP tocsin_verifier_refused_total Requests refused, by code.
# TYPE tocsin_verifier_refused_total counter
tocsin_verifier_refused_total{code="revoked"} 2
# HELP tocsin_verifier_state 1 for the state that the verifier is in: starting, fresh or stale.
# TYPE tocsin_verifier_state gauge
tocsin_verifier_state{state="fresh"} 1
tocsin_verifier_state{state="stale"} 0
tocsin_verifier_state{state="starting"} 0
`
	err := testutil.CollectAndCompare(c, strings.NewReader(want), "tocsin_verifier_accepted_total",
		"tocsin_verifier_proof_age_seconds", "tocsin_verifier_refused_total", "tocsin_verifier_state")
	if err != nil {
		t.Error(err)
	}
}

func TestMetricsFollowTheNamingRules(t *testing.T) {
	problems, err := testutil.CollectAndLint(NewCollector(fixed{}))
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	if err := prom.NewPedanticRegistry().Register(NewCollector(fixed{})); err != nil {
		t.Error(err)
	}
}
