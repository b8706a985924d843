// Package prometheus shows a verifier's [verifier.Stats] as Prometheus metrics. It is a module of its own, so that the
// verifier itself needs no Prometheus.
//
//	registry.MustRegister(prometheus.NewCollector(v))
package prometheus

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// Source is what [verifier.Verifier] offers.
type Source interface {
	Stats() verifier.Stats
}

// metric is one time series without labels.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(verifier.Stats) float64
}

type collector struct {
	source  Source
	metrics []metric

	state, accepted, refused, ended, catchUps, causes, propagation *prometheus.Desc
}

// NewCollector returns a collector that reads the source at each scrape. All names begin with tocsin_verifier_.
func NewCollector(source Source) prometheus.Collector {
	return &collector{
		source:   source,
		metrics:  append(gauges(), counters()...),
		state:    describe("state", "1 for the state that the verifier is in: starting, fresh or stale.", "state"),
		accepted: describe("accepted_total", "Requests accepted, by mode: live or test, a verifier accepts one of them.", "mode"),
		refused:  describe("refused_total", "Requests refused, by code.", "code"),
		ended:    describe("long_answers_ended_total", "Long answers ended by a refusal, by code.", "code"),
		catchUps: describe("catch_ups_total", "Times that missed events were read, by source.", "source"),
		causes:   describe("catch_up_causes_total", "Times that events had to be read, by cause.", "cause"),
		propagation: describe("propagation_seconds",
			"Time of an event from its numbering in authsvc's database to its effect here; never too small, see docs/operations.md."),
	}
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tocsin_verifier_"+name, help, labels, nil)
}

func gauge(name, help string, value func(verifier.Stats) float64) metric {
	return metric{describe(name, help), prometheus.GaugeValue, value}
}

func counter(name, help string, value func(verifier.Stats) uint64) metric {
	return metric{describe(name, help), prometheus.CounterValue, func(s verifier.Stats) float64 { return float64(value(s)) }}
}

func gauges() []metric {
	return []metric{
		gauge("proof_age_seconds", "Time since the last accepted proof was asked for; 0 before the first.",
			func(s verifier.Stats) float64 { return s.ProofAge.Seconds() }),
		gauge("max_staleness_seconds", "The bound B: requests are refused when the proof is older.",
			func(s verifier.Stats) float64 { return s.Bound.Seconds() }),
		gauge("connected", "1 while there is a connection to NATS.", func(s verifier.Stats) float64 { return bit(s.Connected) }),
		gauge("applied_seq", "Up to where the feed is known without a hole.", func(s verifier.Stats) float64 { return float64(s.Applied) }),
		gauge("head_seq", "The greatest seq that the dispatcher has told.", func(s verifier.Stats) float64 { return float64(s.Head) }),
		gauge("last_event_timestamp_seconds", "When the newest applied event was numbered; 0 if there was none.", lastEvent),
		gauge("long_answers", "Long answers in progress.", func(s verifier.Stats) float64 { return float64(s.LongAnswers) }),
		gauge("quota_states", "Users and resources of which something is counted.", func(s verifier.Stats) float64 { return float64(s.QuotaStates) }),
		gauge("quota_away", "1 while the last question about quotas had no answer.", func(s verifier.Stats) float64 { return bit(s.QuotaAway) }),
		gauge("revocations", "Entries of the revocation set.", func(s verifier.Stats) float64 { return float64(s.Revocations) }),
		gauge("token_keys", "Token keys held.", func(s verifier.Stats) float64 { return float64(s.TokenKeys) }),
		gauge("feed_keys", "Feed keys held.", func(s verifier.Stats) float64 { return float64(s.FeedKeys) }),
		gauge("cached_tokens", "Tokens in the cache.", func(s verifier.Stats) float64 { return float64(s.Tokens) }),
		gauge("cached_keys", "API keys in the cache.", func(s verifier.Stats) float64 { return float64(s.Keys) }),
		gauge("unknown_keys", "API keys remembered as unknown.", func(s verifier.Stats) float64 { return float64(s.UnknownKeys) }),
	}
}

func counters() []metric {
	return []metric{
		counter("cache_hits_total", "Credentials found in a cache.", func(s verifier.Stats) uint64 { return s.CacheHits }),
		counter("cache_misses_total", "Credentials not found in a cache.", func(s verifier.Stats) uint64 { return s.CacheMisses }),
		counter("resolves_total", "Questions whose an API key is.", func(s verifier.Stats) uint64 { return s.Resolves }),
		counter("elite_checks_total", "Elite questions.", func(s verifier.Stats) uint64 { return s.EliteChecks }),
		counter("auth_unavailable_total", "Questions without a valid answer.", func(s verifier.Stats) uint64 { return s.AuthUnavailable }),
		counter("quota_questions_total", "Reports of what was spent, and questions what may be.", func(s verifier.Stats) uint64 { return s.QuotaQuestions }),
		counter("quota_failures_total", "Of these, those without a valid answer.", func(s verifier.Stats) uint64 { return s.QuotaFailures }),
		counter("quota_busy_total", "Of these, those that authsvc had too much to do for.", func(s verifier.Stats) uint64 { return s.QuotaBusy }),
		counter("quota_uncounted_total", "Requests accepted beyond what was allowed, while authsvc couldn't be asked.", func(s verifier.Stats) uint64 { return s.QuotaUncounted }),
		counter("proofs_total", "Proofs accepted.", func(s verifier.Stats) uint64 { return s.Proofs }),
		counter("events_total", "Events applied, repetitions included.", func(s verifier.Stats) uint64 { return s.Events }),
		counter("gaps_total", "Messages that arrived beyond a hole.", func(s verifier.Stats) uint64 { return s.Gaps }),
		counter("mismatches_total", "Messages or proofs whose chain contradicted ours.", func(s verifier.Stats) uint64 { return s.Mismatches }),
		counter("skips_total", "Leaps over events that had ended.", func(s verifier.Stats) uint64 { return s.Skips }),
		counter("catch_up_errors_total", "Catch-ups that failed.", func(s verifier.Stats) uint64 { return s.CatchUpErrors }),
		counter("reconnects_total", "Reconnects to NATS.", func(s verifier.Stats) uint64 { return s.Reconnects }),
		counter("bad_messages_total", "Messages that no feed key had signed, or that could not be read.", func(s verifier.Stats) uint64 { return s.BadMessages }),
		counter("slow_consumer_total", "Times that NATS dropped messages for this verifier.", func(s verifier.Stats) uint64 { return s.SlowConsumer }),
	}
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func lastEvent(s verifier.Stats) float64 {
	if s.LastEvent.IsZero() {
		return 0
	}
	return float64(s.LastEvent.UnixMicro()) / 1e6
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
	ch <- c.state
	ch <- c.accepted
	ch <- c.refused
	ch <- c.ended
	ch <- c.catchUps
	ch <- c.causes
	ch <- c.propagation
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.source.Stats()
	for _, m := range c.metrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s))
	}
	for _, state := range []events.State{events.StateStarting, events.StateFresh, events.StateStale} {
		ch <- prometheus.MustNewConstMetric(c.state, prometheus.GaugeValue, bit(s.State == state), string(state))
	}
	ch <- prometheus.MustNewConstMetric(c.accepted, prometheus.CounterValue, float64(s.Accepted), string(s.Mode))
	for code, n := range s.Refused {
		ch <- prometheus.MustNewConstMetric(c.refused, prometheus.CounterValue, float64(n), string(code))
	}
	for code, n := range s.LongAnswersEnded {
		ch <- prometheus.MustNewConstMetric(c.ended, prometheus.CounterValue, float64(n), string(code))
	}
	for _, source := range []string{"compact", "stream", "snapshot"} {
		ch <- prometheus.MustNewConstMetric(c.catchUps, prometheus.CounterValue, float64(s.CatchUps[source]), source)
	}
	for _, cause := range []string{"start", "reconnect", "gap", "mismatch", "epoch"} {
		ch <- prometheus.MustNewConstMetric(c.causes, prometheus.CounterValue, float64(s.CatchUpCauses[cause]), cause)
	}
	ch <- histogram(c.propagation, s.Propagation)
}

// histogram gives cumulative buckets, as Prometheus wants them.
func histogram(desc *prometheus.Desc, h verifier.Histogram) prometheus.Metric {
	buckets, count := make(map[float64]uint64, len(h.Bounds)), uint64(0)
	for i, n := range h.Counts {
		count += n
		if i < len(h.Bounds) {
			buckets[h.Bounds[i].Seconds()] = count
		}
	}
	return prometheus.MustNewConstHistogram(desc, count, h.Sum.Seconds(), buckets)
}
