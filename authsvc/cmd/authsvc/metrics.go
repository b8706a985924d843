package main

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
	"github.com/tocsin-auth/tocsin/authsvc/internal/elite"
	"github.com/tocsin-auth/tocsin/authsvc/internal/feed"
	"github.com/tocsin-auth/tocsin/authsvc/internal/keyuse"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// hashingGauge tells how many password hashes are being computed: each takes its memory and a processor.
func hashingGauge(domain *auth.Service) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tocsin_argon2_in_flight", Help: "Password hashes being computed."},
		func() float64 { return float64(domain.Hashing()) })
}

// newEliteMetrics returns the observer of elite questions.
func newEliteMetrics(registry *prometheus.Registry) (func(elite.Question, elite.Outcome, time.Duration), error) {
	questions := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tocsin_elite_questions_total", Help: "Questions of verifiers by kind and outcome."},
		[]string{"question", "outcome"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "tocsin_elite_question_duration_seconds", Help: "Time from arrival to answer, by kind.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1}}, []string{"question"})
	observe := func(q elite.Question, outcome elite.Outcome, took time.Duration) {
		questions.WithLabelValues(string(q), string(outcome)).Inc()
		seconds.WithLabelValues(string(q)).Observe(took.Seconds())
	}
	return observe, errors.Join(registry.Register(questions), registry.Register(seconds))
}

// backlogTimeout bounds the question to the database of one scrape.
const backlogTimeout = time.Second

// feedCollector tells the state of the feed at each scrape: as this process knows it, and its backlog as the database does.
type feedCollector struct {
	feed *feed.Feed
	db   *store.DB
}

// feedMetric is one value of [feed.Stats].
type feedMetric struct {
	description *prometheus.Desc
	kind        prometheus.ValueType
	value       func(feed.Stats) float64
}

func feedValue(kind prometheus.ValueType, name, help string, value func(feed.Stats) float64) feedMetric {
	return feedMetric{describeFeed(name, help), kind, value}
}

func describeFeed(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tocsin_feed_"+name, help, labels, nil)
}

func flag(set bool) float64 {
	if set {
		return 1
	}
	return 0
}

var feedMetrics = []feedMetric{
	feedValue(prometheus.GaugeValue, "dispatcher", "1 while this process is the dispatcher.", func(s feed.Stats) float64 { return flag(s.Holding) }),
	feedValue(prometheus.GaugeValue, "term", "Term of the dispatcher's lease.", func(s feed.Stats) float64 { return float64(s.Term) }),
	feedValue(prometheus.GaugeValue, "head", "Last seq of the epoch.", func(s feed.Stats) float64 { return float64(s.Head) }),
	feedValue(prometheus.GaugeValue, "floor", "Lowest seq that is still needed.", func(s feed.Stats) float64 { return float64(s.Floor) }),
	feedValue(prometheus.GaugeValue, "published", "Last seq up to which all is sent and stored in the stream.", func(s feed.Stats) float64 { return float64(s.Published) }),
	feedValue(prometheus.GaugeValue, "stream_unavailable", "1 while this process is the dispatcher and its last look at the stream, or its last message to it, failed.", func(s feed.Stats) float64 { return flag(s.Holding && s.StreamAway) }),
	feedValue(prometheus.GaugeValue, "receipts_waiting", "Calls of this process that wait for their events to travel.", func(s feed.Stats) float64 { return float64(s.Waiting) }),
	feedValue(prometheus.CounterValue, "takeovers_total", "Terms begun by this process.", func(s feed.Stats) float64 { return float64(s.Takeovers) }),
	feedValue(prometheus.CounterValue, "events_total", "Events numbered by this process.", func(s feed.Stats) float64 { return float64(s.Numbered) }),
	feedValue(prometheus.CounterValue, "proofs_total", "Proofs sent.", func(s feed.Stats) float64 { return float64(s.Answers) }),
	feedValue(prometheus.CounterValue, "displaced_requests_total", "Proof requests given up unread, because their service had sent too many.", func(s feed.Stats) float64 { return float64(s.Displaced) }),
	feedValue(prometheus.CounterValue, "late_requests_total", "Proof requests that were too old to answer.", func(s feed.Stats) float64 { return float64(s.LateRequests) }),
	feedValue(prometheus.CounterValue, "answer_errors_total", "Proofs that could not be sent.", func(s feed.Stats) float64 { return float64(s.AnswerErrors) }),
	feedValue(prometheus.CounterValue, "stream_failures_total", "Messages that the stream didn't take at once.", func(s feed.Stats) float64 { return float64(s.StreamFailures) }),
	feedValue(prometheus.CounterValue, "repairs_total", "Republications of everything that still matters.", func(s feed.Stats) float64 { return float64(s.Repairs) }),
	feedValue(prometheus.GaugeValue, "import_pending", "1 while the database has lost commits and the stream is yet to be read for them.", func(s feed.Stats) float64 { return flag(s.Importing) }),
	feedValue(prometheus.GaugeValue, "import_incomplete", "1 if this process has imported a stream that doesn't hold, or can't prove, everything since the backup.", func(s feed.Stats) float64 { return flag(s.Incomplete) }),
	feedValue(prometheus.CounterValue, "imported_events_total", "Events that a restored database had lost and got back from the stream.", func(s feed.Stats) float64 { return float64(s.Imported) }),
	feedValue(prometheus.CounterValue, "step_errors_total", "Rounds of the dispatcher that failed.", func(s feed.Stats) float64 { return float64(s.StepErrors) }),
}

var (
	feedVerifiers   = describeFeed("verifiers", "Verifiers heard of lately, by service and state.", "service", "state")
	feedUnnumbered  = describeFeed("unnumbered_events", "Committed events that have no seq yet.")
	feedUnpublished = describeFeed("unpublished_events", "Numbered events that aren't marked as published yet.")
	feedEpoch       = describeFeed("epoch_timestamp_seconds", "When the epoch was opened, as its id tells; it changes when the database was restored or has lost commits.")
	feedOldest      = describeFeed("oldest_unpublished_seconds", "Age of the oldest event that isn't numbered and published; 0 if there is none.")
	databaseUp      = prometheus.NewDesc("tocsin_database_up", "1 if the database answered during the scrape.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (c feedCollector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range feedMetrics {
		out <- m.description
	}
	for _, d := range []*prometheus.Desc{feedVerifiers, feedEpoch, feedUnnumbered, feedUnpublished, feedOldest, databaseUp} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (c feedCollector) Collect(out chan<- prometheus.Metric) {
	stats := c.feed.Stats()
	for _, m := range feedMetrics {
		out <- prometheus.MustNewConstMetric(m.description, m.kind, m.value(stats))
	}
	if id, err := events.ParseID(stats.Epoch); err == nil { // before the first look at the lease there is none
		out <- prometheus.MustNewConstMetric(feedEpoch, prometheus.GaugeValue, float64(id.Millis())/1000)
	}
	for service, states := range stats.Verifiers {
		for state, n := range states {
			out <- prometheus.MustNewConstMetric(feedVerifiers, prometheus.GaugeValue, float64(n), service, string(state))
		}
	}
	c.collectBacklog(out)
}

// collectBacklog leaves the backlog out while the database doesn't tell: a figure from before would look like good news.
func (c feedCollector) collectBacklog(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), backlogTimeout)
	defer cancel()
	b, err := c.db.FeedBacklog(ctx)
	gauge := func(d *prometheus.Desc, value float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value)
	}
	gauge(databaseUp, flag(err == nil))
	if err != nil {
		return
	}
	gauge(feedUnnumbered, float64(b.Unnumbered))
	gauge(feedUnpublished, float64(b.Unpublished))
	gauge(feedOldest, b.Oldest.Seconds())
}

// useCollector tells what became of the uses of API keys that services told of.
type useCollector struct{ uses *keyuse.Recorder }

var keyUses = prometheus.NewDesc("tocsin_key_uses_total", "Last uses of API keys: messages of services that were read or dropped, and rows written or failed.",
	[]string{"outcome"}, nil)

// Describe implements [prometheus.Collector].
func (c useCollector) Describe(out chan<- *prometheus.Desc) { out <- keyUses }

// Collect implements [prometheus.Collector].
func (c useCollector) Collect(out chan<- prometheus.Metric) {
	s := c.uses.Stats()
	for outcome, n := range map[string]uint64{"read": s.Messages, "dropped": s.Dropped, "written": s.Written, "failed": s.Failed} {
		out <- prometheus.MustNewConstMetric(keyUses, prometheus.CounterValue, float64(n), outcome)
	}
}
