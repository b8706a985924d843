// Package routes says which requirements a request has to meet: a table of routes, read from one YAML file, of which the first
// that fits counts.
package routes

import (
	"errors"
	"slices"
	"time"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/target"
)

// Kind is how a route is decided.
type Kind string

// The kinds.
const (
	Ordinary Kind = "ordinary" // in this process
	Elite    Kind = "elite"    // by authsvc, each time
	Public   Kind = "public"   // no credential is asked for, nor looked at
)

// The policies of a route that isn't fresh; empty is the program's own.
const (
	Deny       = "deny"
	Ask        = "ask"
	ServeStale = "serve-stale"
)

// The ways to count a quota that differ from the verifier's usual one.
const (
	Strict = "strict" // nothing is let through uncounted
	Exact  = "exact"  // authsvc is asked each time
)

// Route is one entry of the file.
type Route struct {
	Name    string
	Backend string
	Kind    Kind
	Roles   []string   // all of them
	AnyRole [][]string // of each one
	// MaxStaleness is the route's own B; 0 is the program's.
	MaxStaleness  time.Duration
	OnStale       string
	ServeStaleMax time.Duration
	// Quota is the resource that a request spends one of, or empty; QuotaMode is Strict, Exact or empty.
	Quota, QuotaMode string

	hosts    []hostPattern // empty: any
	methods  []string      // empty: any
	patterns []pattern
}

// Table is a file. It is safe for concurrent use.
type Table struct {
	Routes []*Route
	// NotFound has requests that fit no route answered with 404 in place of 403.
	NotFound bool
}

// The ways in which no route is found.
var (
	ErrUnmatched = errors.New("no route allows this request")
	ErrUnsure    = errors.New("the path is almost one that a route names, but encoded or in another case")
)

// Match returns the first route that fits. If a path would fit an earlier one by another way of reading it, whatever the
// method, it returns ErrUnsure: a backend might read it so.
func (t *Table) Match(asked *target.Target) (*Route, error) {
	for _, r := range t.Routes {
		if !r.hasHost(asked.Host) {
			continue
		}
		fits := r.matchPath(asked.Segments)
		if fits == unsure {
			return nil, ErrUnsure
		}
		if fits == yes && r.hasMethod(asked.Method) {
			return r, nil
		}
	}
	return nil, ErrUnmatched
}

func (r *Route) hasHost(host string) bool {
	return len(r.hosts) == 0 || slices.ContainsFunc(r.hosts, func(h hostPattern) bool { return h.match(host) })
}

// hasMethod: GET includes HEAD, since most frameworks answer a HEAD with what serves GET.
func (r *Route) hasMethod(method string) bool {
	return len(r.methods) == 0 || slices.Contains(r.methods, method) || method == "HEAD" && slices.Contains(r.methods, "GET")
}

// matchPath: that one pattern fits by the letter outweighs that another one almost does, since both mean this route.
func (r *Route) matchPath(path []target.Segment) match {
	best := no
	for _, p := range r.patterns {
		best = max(best, p.match(path))
	}
	return best
}

// covers reports whether everything that fits one pattern of a later route fits this one.
func (r *Route) covers(later *Route, p pattern) bool {
	return slices.ContainsFunc(r.patterns, func(own pattern) bool { return own.covers(p) }) &&
		r.coversHosts(later) && r.coversMethods(later)
}

func (r *Route) coversHosts(later *Route) bool {
	if len(r.hosts) == 0 {
		return true
	}
	return len(later.hosts) > 0 && !slices.ContainsFunc(later.hosts, func(q hostPattern) bool {
		return !slices.ContainsFunc(r.hosts, func(h hostPattern) bool { return h.covers(q) })
	})
}

func (r *Route) coversMethods(later *Route) bool {
	if len(r.methods) == 0 {
		return true
	}
	return len(later.methods) > 0 && !slices.ContainsFunc(later.methods, func(m string) bool { return !r.hasMethod(m) })
}
