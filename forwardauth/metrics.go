package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts and times decisions by route and outcome. Names of routes are the operator's, never a caller's.
type metrics struct{ seconds *prometheus.HistogramVec }

func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "forwardauth_decision_seconds",
		Help:    "Time to decide a request, by route (empty: none was found) and outcome (accepted, or the code of the refusal).",
		Buckets: []float64{.000005, .00001, .000025, .0001, .001, .005, .025, .1, .5, 1},
	}, []string{"route", "outcome"})}
	reg.MustRegister(m.seconds)
	return m
}

func (m metrics) observe(route string, refused *refusal, took time.Duration) {
	outcome := "accepted"
	if refused != nil {
		outcome = refused.Code
	}
	m.seconds.WithLabelValues(route, outcome).Observe(took.Seconds())
}
