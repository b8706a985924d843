package httpapi

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

// metrics are what an operator watches of HTTP. Labels come from closed sets: routes, methods, statuses and codes.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	refusals *prometheus.CounterVec
	reports  *prometheus.CounterVec
	callers  *prometheus.CounterVec

	throttled *prometheus.CounterVec
}

func newMetrics(registry *prometheus.Registry) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tocsin_http_requests_total", Help: "Requests by method, route and status.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tocsin_http_request_duration_seconds", Help: "Time to answer, by method and route.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"method", "route"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tocsin_http_refusals_total", Help: "Refused requests by code.",
		}, []string{"code"}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tocsin_reported_keys_total", Help: "API keys that were reported as leaked, by what became of them.",
		}, []string{"outcome"}),
		callers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tocsin_http_authenticated_requests_total", Help: "Requests with a good credential, by how it was sent and its mode.",
		}, []string{"auth", "mode"}),
		throttled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tocsin_throttled_total", Help: "Attempts of strangers that were refused as too many, by the limit.",
		}, []string{"limit"}),
	}
	m.reported(auth.Report{}) // so that the first report is an increase
	return m, errors.Join(registry.Register(m.requests), registry.Register(m.seconds), registry.Register(m.refusals), registry.Register(m.reports), registry.Register(m.callers),
		registry.Register(m.throttled))
}

func (m *metrics) authenticated(c auth.Caller) {
	if c.Mode != "" {
		m.callers.WithLabelValues(c.Method, string(c.Mode)).Inc()
	}
}

func (m *metrics) reported(r auth.Report) {
	for outcome, n := range map[string]int{"revoked": r.Revoked, "dead": r.Dead, "unknown": r.Unknown, "malformed": r.Malformed} {
		m.reports.WithLabelValues(outcome).Add(float64(n))
	}
}

func (m *metrics) count(method, route string, status int, code string, took time.Duration) {
	method = knownMethod(method)
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(method, route).Observe(took.Seconds())
	if code != "" {
		m.refusals.WithLabelValues(code).Inc()
	}
}
