package verifier

import (
	"encoding/json"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Stats is what a verifier knows of itself: for people, metrics and logs. It holds nothing of any user. Counters count
// since [New].
type Stats struct {
	Service  string `json:"service"`
	Instance string `json:"instance"`
	// Mode is that of the credentials that are accepted; all others are refused with [CodeWrongMode].
	Mode Mode `json:"mode"`
	// State is starting (nothing was ever proven), fresh, or stale.
	State     events.State `json:"state"`
	Connected bool         `json:"connected"`

	// Epoch and Term are those of the last proof. Applied is up to where the feed is known without a hole, Head the
	// greatest that authsvc has told.
	Epoch   string `json:"epoch"`
	Term    int64  `json:"term"`
	Applied uint64 `json:"applied_seq"`
	Head    uint64 `json:"head"`
	// ProofAge is how long ago the last accepted proof was asked for: the verifier is fresh while it is within Bound.
	// 0 before the first proof. In JSON proof_age_ms, null before the first.
	ProofAge time.Duration `json:"-"`
	// Bound is B. In JSON max_staleness_ms.
	Bound time.Duration `json:"-"`
	// LastEvent is when the newest applied event was numbered, by authsvc's clock; zero if there was none.
	LastEvent time.Time `json:"last_event,omitzero"`

	// Revocations are the entries of the set; TokenKeys, FeedKeys, Tokens, Keys and UnknownKeys what is held.
	Revocations int `json:"revocations"`
	TokenKeys   int `json:"token_keys"`
	FeedKeys    int `json:"feed_keys"`
	Tokens      int `json:"cached_tokens"`
	Keys        int `json:"cached_keys"`
	UnknownKeys int `json:"unknown_keys"`

	Accepted uint64          `json:"accepted"`
	Refused  map[Code]uint64 `json:"refused"`

	CacheHits   uint64 `json:"cache_hits"`
	CacheMisses uint64 `json:"cache_misses"`
	// Resolves and EliteChecks are questions to authsvc; AuthUnavailable are those that got no valid answer.
	Resolves        uint64 `json:"resolves"`
	EliteChecks     uint64 `json:"elite_checks"`
	AuthUnavailable uint64 `json:"auth_unavailable"`

	// QuotaStates are the users and resources of which something is counted, see [Quota]; QuotaQuestions were asked about them,
	// QuotaFailures of these without an answer, as the last one if QuotaAway; QuotaUncounted requests were accepted meanwhile beyond what was
	// allowed. QuotaBusy questions were put off, all or in part, since authsvc answered that it had too much to do.
	QuotaStates    int    `json:"quota_states"`
	QuotaAway      bool   `json:"quota_away"`
	QuotaQuestions uint64 `json:"quota_questions"`
	QuotaFailures  uint64 `json:"quota_failures"`
	QuotaUncounted uint64 `json:"quota_uncounted"`
	QuotaBusy      uint64 `json:"quota_busy"`

	// LongAnswers are in progress, see [LongAnswer]; LongAnswersEnded were ended by a refusal.
	LongAnswers      int             `json:"long_answers"`
	LongAnswersEnded map[Code]uint64 `json:"long_answers_ended"`

	Proofs        uint64            `json:"proofs"`
	Events        uint64            `json:"events"`
	Gaps          uint64            `json:"gaps"`
	Mismatches    uint64            `json:"mismatches"`
	Skips         uint64            `json:"skips"`
	CatchUps      map[string]uint64 `json:"catch_ups"`       // by source: compact, stream, snapshot
	CatchUpCauses map[string]uint64 `json:"catch_up_causes"` // start, reconnect, gap, mismatch, epoch
	CatchUpErrors uint64            `json:"catch_up_errors"`
	Reconnects    uint64            `json:"reconnects"`
	BadMessages   uint64            `json:"bad_messages"`
	SlowConsumer  uint64            `json:"slow_consumer"`

	// Propagation is how long events took from their numbering in authsvc's database to their effect here. It is never
	// less than the truth, and more by at most the shortest way of a question to authsvc (the clocks of the two machines
	// are compared by means of proofs). What lies before the numbering is not in it, nor are events from before the
	// first proof.
	Propagation Histogram `json:"-"`
}

// Histogram counts durations: Counts[i] those of at most Bounds[i] and above the bound before it, and one more element
// those above all bounds. The last bound is B.
type Histogram struct {
	Bounds []time.Duration
	Counts []uint64
	Sum    time.Duration
}

// MarshalJSON gives durations in milliseconds.
func (s Stats) MarshalJSON() ([]byte, error) {
	type fields Stats
	out := struct {
		fields
		ProofAge *float64 `json:"proof_age_ms"`
		Bound    float64  `json:"max_staleness_ms"`
	}{fields: fields(s), Bound: millis(s.Bound)}
	if s.State != events.StateStarting {
		age := millis(s.ProofAge)
		out.ProofAge = &age
	}
	return json.Marshal(out)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Stats returns a snapshot. It is cheap enough for every scrape, but not for every request.
func (v *Verifier) Stats() Stats {
	l, q := v.link.Stats(), v.quotas.Stats()
	s := Stats{
		Service: v.service, Instance: v.instance, Mode: v.mode, State: v.state(), Connected: l.Connected,
		Epoch: l.Epoch, Term: l.Term, Applied: l.Applied, Head: l.Head, ProofAge: v.proofAge(), Bound: v.base.bound,
		Revocations: v.set.Len(), TokenKeys: l.TokenKeys, FeedKeys: l.FeedKeys,
		QuotaStates: q.States, QuotaAway: q.Away, QuotaQuestions: q.Questions, QuotaFailures: q.Failures, QuotaUncounted: q.Uncounted, QuotaBusy: q.Busy,
		LongAnswers: v.lives.len(),
		Tokens:      v.tokens.Len(), Keys: v.keys.Len(), UnknownKeys: v.unknown.Len(),
		Proofs: l.Proofs, Events: l.Events, Gaps: l.Gaps, Mismatches: l.Mismatches, Skips: l.Skips,
		CatchUps: l.CatchUps, CatchUpCauses: l.CatchUpCauses, CatchUpErrors: l.CatchUpErrors, Propagation: Histogram(l.Propagation),
		Reconnects: l.Reconnects, BadMessages: l.BadMessages, SlowConsumer: l.SlowConsumer,
	}
	if l.LastEvent > 0 {
		s.LastEvent = time.UnixMicro(l.LastEvent).UTC()
	}
	v.counters.addTo(&s)
	return s
}

func (v *Verifier) proofAge() time.Duration {
	proof := v.link.Fresh()
	if proof == nil {
		return 0
	}
	return v.clock.Now().Since(proof.Since)
}

// state is the verifier's, by its own bound; a route with a smaller one may be stale before.
func (v *Verifier) state() events.State {
	proof := v.link.Fresh()
	switch {
	case proof == nil:
		return events.StateStarting
	case proof.Within(v.clock.Now(), v.base.bound):
		return events.StateFresh
	}
	return events.StateStale
}
