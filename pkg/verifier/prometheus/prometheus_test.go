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
		Mode: verifier.ModeLive, State: events.StateFresh, ProofAge: 250 * time.Millisecond, Applied: 7, Accepted: 3,
		Refused: map[verifier.Code]uint64{verifier.CodeRevoked: 2}, LongAnswers: 4,
		LongAnswersEnded: map[verifier.Code]uint64{verifier.CodeStale: 5}, CatchUps: map[string]uint64{"stream": 1},
		CatchUpCauses: map[string]uint64{"gap": 1},
		Propagation: verifier.Histogram{
			Bounds: []time.Duration{time.Millisecond, 30 * time.Second}, Counts: []uint64{4, 2, 1}, Sum: 62 * time.Second,
		},
	})
	want := `
# HELP tocsin_verifier_accepted_total Requests accepted, by mode: live or test, a verifier accepts one of them.
# TYPE tocsin_verifier_accepted_total counter
tocsin_verifier_accepted_total{mode="live"} 3
# HELP tocsin_verifier_catch_up_causes_total Times that events had to be read, by cause.
# TYPE tocsin_verifier_catch_up_causes_total counter
tocsin_verifier_catch_up_causes_total{cause="epoch"} 0
tocsin_verifier_catch_up_causes_total{cause="gap"} 1
tocsin_verifier_catch_up_causes_total{cause="mismatch"} 0
tocsin_verifier_catch_up_causes_total{cause="reconnect"} 0
tocsin_verifier_catch_up_causes_total{cause="start"} 0
# HELP tocsin_verifier_long_answers Long answers in progress.
# TYPE tocsin_verifier_long_answers gauge
tocsin_verifier_long_answers 4
# HELP tocsin_verifier_long_answers_ended_total Long answers ended by a refusal, by code.
# TYPE tocsin_verifier_long_answers_ended_total counter
tocsin_verifier_long_answers_ended_total{code="stale"} 5
# HELP tocsin_verifier_proof_age_seconds Time since the last accepted proof was asked for; 0 before the first.
# TYPE tocsin_verifier_proof_age_seconds gauge
tocsin_verifier_proof_age_seconds 0.25
# HELP tocsin_verifier_propagation_seconds Time of an event from its numbering in authsvc's database to its effect here; never too small, see docs/operations.md.
# TYPE tocsin_verifier_propagation_seconds histogram
tocsin_verifier_propagation_seconds_bucket{le="0.001"} 4
tocsin_verifier_propagation_seconds_bucket{le="30"} 6
tocsin_verifier_propagation_seconds_bucket{le="+Inf"} 7
tocsin_verifier_propagation_seconds_sum 62
tocsin_verifier_propagation_seconds_count 7
# HELP tocsin_verifier_refused_total Requests refused, by code.
# TYPE tocsin_verifier_refused_total counter
tocsin_verifier_refused_total{code="revoked"} 2
# HELP tocsin_verifier_state 1 for the state that the verifier is in: starting, fresh or stale.
# TYPE tocsin_verifier_state gauge
tocsin_verifier_state{state="fresh"} 1
tocsin_verifier_state{state="stale"} 0
tocsin_verifier_state{state="starting"} 0
`
	err := testutil.CollectAndCompare(c, strings.NewReader(want), "tocsin_verifier_accepted_total", "tocsin_verifier_catch_up_causes_total", "tocsin_verifier_propagation_seconds",
		"tocsin_verifier_long_answers", "tocsin_verifier_long_answers_ended_total",
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
