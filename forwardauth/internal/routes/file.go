package routes

import (
	"fmt"
	"regexp"
	"time"
)

// These are in routes.schema.json too.
var (
	isName     = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)
	isBackend  = regexp.MustCompile(`^[a-z0-9._-]{1,64}$`)
	isMethod   = regexp.MustCompile(`^[A-Z-]{1,16}$`)
	isDuration = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)
)

// maxFile is how many bytes a file may have.
const maxFile = 1 << 20

// Load reads a file. Its errors are one line, and name the field.
func Load(data []byte) (*Table, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("the file has more than %d bytes", maxFile)
	}
	root, err := parse(data)
	if err != nil {
		return nil, err
	}
	t := &Table{}
	err = root.fields(map[string]func(node) error{
		"unmatched": func(n node) error {
			s, err := n.oneOf("deny", "not_found")
			t.NotFound = s == "not_found"
			return err
		},
		"routes": func(n node) error { return n.items(t.add) },
	}, "routes")
	if err != nil {
		return nil, err
	}
	return t, nil
}

// add reads one route, which must be reachable behind those before it.
func (t *Table) add(n node) error {
	r := &Route{Kind: Ordinary}
	var paths []string
	err := n.fields(map[string]func(node) error{
		"name":    into(&r.Name, isName.MatchString, "[a-z0-9_-]{1,32}"),
		"backend": into(&r.Backend, isBackend.MatchString, "[a-z0-9._-]{1,64}"),
		"hosts":   r.readHosts,
		"paths": func(n node) (err error) {
			paths, err = n.words(r.readPath, "a pattern as /v1/cars/* or /v1/cars/**")
			return err
		},
		"methods": func(n node) (err error) {
			r.methods, err = n.words(isTaken, "a method in capital letters, not CONNECT or TRACE,")
			return err
		},
		"kind":            r.readKind,
		"roles":           func(n node) (err error) { r.Roles, err = n.words(isName.MatchString, "[a-z0-9_-]{1,32}"); return err },
		"any_role":        r.readAnyRole,
		"max_staleness":   func(n node) (err error) { r.MaxStaleness, err = n.duration(); return err },
		"on_stale":        func(n node) (err error) { r.OnStale, err = n.oneOf(Deny, Ask, ServeStale); return err },
		"serve_stale_max": func(n node) (err error) { r.ServeStaleMax, err = n.duration(); return err },
		"quota":           into(&r.Quota, isName.MatchString, "[a-z0-9_-]{1,32}"),
		"quota_mode":      func(n node) (err error) { r.QuotaMode, err = n.oneOf(Strict, Exact); return err },
	}, "name", "backend", "paths")
	if err != nil {
		return err
	}
	if err := r.check(n); err != nil {
		return err
	}
	if err := t.checkReachable(n, r, paths); err != nil {
		return err
	}
	t.Routes = append(t.Routes, r)
	return nil
}

func into(field *string, ok func(string) bool, want string) func(node) error {
	return func(n node) (err error) {
		*field, err = n.word(ok, want)
		return err
	}
}

func isTaken(method string) bool {
	return isMethod.MatchString(method) && method != "CONNECT" && method != "TRACE"
}

func (r *Route) readHosts(n node) error {
	_, err := n.words(func(s string) bool {
		h, ok := parseHost(s)
		r.hosts = append(r.hosts, h)
		return ok
	}, "a host name in lower case without port, or *. and one,")
	return err
}

func (r *Route) readPath(s string) bool {
	p, ok := parsePattern(s)
	r.patterns = append(r.patterns, p)
	return ok
}

func (r *Route) readKind(n node) error {
	s, err := n.oneOf(string(Ordinary), string(Elite), string(Public))
	r.Kind = Kind(s)
	return err
}

func (r *Route) readAnyRole(n node) error {
	return n.items(func(item node) error {
		names, err := item.words(isName.MatchString, "[a-z0-9_-]{1,32}")
		r.AnyRole = append(r.AnyRole, names)
		return err
	})
}

// check refuses fields that would have no effect: whoever wrote them expects one.
func (r *Route) check(n node) error {
	needs := r.Roles != nil || r.AnyRole != nil
	stale := r.MaxStaleness > 0 || r.OnStale != ""
	switch {
	case r.Kind == Public && (needs || stale || r.Quota != ""):
		return n.wrong("a public route has no roles, any_role, max_staleness, on_stale or quota")
	case r.QuotaMode != "" && r.Quota == "":
		return n.wrong("quota_mode: there is no quota")
	case r.Kind == Elite && stale:
		return n.wrong("an elite route has no max_staleness or on_stale: authsvc is asked each time")
	case (r.OnStale == ServeStale) != (r.ServeStaleMax > 0):
		return n.wrong("on_stale: serve-stale and serve_stale_max go together")
	case r.ServeStaleMax > 24*time.Hour:
		return n.wrong("serve_stale_max is at most 24h")
	}
	return nil
}

// checkReachable finds names that are taken, and patterns that an earlier route covers.
func (t *Table) checkReachable(n node, r *Route, paths []string) error {
	for i, earlier := range t.Routes {
		if earlier.Name == r.Name {
			return n.wrong("name: routes[%d] has the same", i)
		}
		for k, p := range r.patterns {
			if earlier.covers(r, p) {
				return n.wrong("paths[%d] (%s) is never reached: routes[%d] (%s) comes before it and takes all of it", k, paths[k], i, earlier.Name)
			}
		}
	}
	return nil
}
