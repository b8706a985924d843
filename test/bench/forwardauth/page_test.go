package forwardauth

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
)

// The targets.
const (
	mostLatency = 1.2 // times that of an empty handler
	leastRate   = 3.0 // times that of introspection
)

func makePage(all []contender, measured []figures) string {
	var p figure.Page
	p.Add("# forwardauth behind nginx, %s", figure.Today())
	p.Add("%s", figure.Where())
	p.Add("Each contender is what one nginx (one worker, the shipped configuration) asks by `auth_request` before it forwards to the same backend. Latency: one connection to each, one request to each, in random order, then the next. "+
		"Throughput: %d connections to one after the other. %d rounds of %v each. `make forwardauth`", *clients, *rounds, *each)
	rows := [][]string{{"nginx asks", "latency, median", "p99", "requests/s", "latency then, median", "p99"}}
	for i, c := range all {
		m := &measured[i]
		rows = append(rows, []string{c.name, figure.Nanos(float64(m.latency.At(0.5))), figure.Nanos(float64(m.latency.At(0.99))),
			fmt.Sprintf("%.0f", middle(m.rates)), figure.Nanos(float64(m.load.At(0.5))), figure.Nanos(float64(m.load.At(0.99)))})
	}
	p.Table(rows...)
	of := func(name string) figures {
		return measured[slices.IndexFunc(all, func(c contender) bool { return c.name == name })]
	}
	p.Add("Ratios: the median of those of the rounds, and their span.")
	p.Table([]string{"ratio", "measured", "target"},
		[]string{"latency, forwardauth on one path / empty handler", ratios(of(ours).medians, of(empty).medians), fmt.Sprintf("at most %.1f", mostLatency)},
		[]string{"latency, forwardauth with a signature each / empty handler", ratios(of(signing).medians, of(empty).medians), ""},
		[]string{"requests/s, forwardauth on one path / introspection", ratios(of(ours).rates, of(introspection).rates), fmt.Sprintf("at least %.1f", leastRate)},
		[]string{"requests/s, forwardauth with a signature each / introspection", ratios(of(signing).rates, of(introspection).rates), ""},
		[]string{"requests/s, forwardauth on one path / empty handler", ratios(of(ours).rates, of(empty).rates), ""})
	return strings.TrimRight(p.String(), "\n") + "\n"
}

func middle(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

func ratios(a, b []float64) string {
	all := make([]float64, len(a))
	for i := range a {
		all[i] = a[i] / b[i]
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", middle(all), slices.Min(all), slices.Max(all))
}
