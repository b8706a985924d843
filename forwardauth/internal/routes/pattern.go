package routes

import (
	"strings"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/target"
)

// pattern matches paths by their segments: a literal one, "*" for any one, and "**" at the end for any number of them, none
// included. A slash at the end of a path makes no difference.
type pattern struct {
	literals []string // "*" for any
	rest     bool     // ends with "**"
}

// parsePattern reads /a/*/b or /a/**.
func parsePattern(text string) (pattern, bool) {
	if !strings.HasPrefix(text, "/") {
		return pattern{}, false
	}
	var p pattern
	if text == "/" {
		return p, true
	}
	parts := strings.Split(text[1:], "/")
	if parts[len(parts)-1] == "**" {
		p.rest, parts = true, parts[:len(parts)-1]
	}
	for _, part := range parts {
		if part != "*" && (!target.IsPlain(part) || strings.Contains(part, "*")) {
			return pattern{}, false
		}
	}
	p.literals = parts
	return p, true
}

// match says how a path fits.
type match int

const (
	no match = iota
	// unsure: by the letter it doesn't fit, but to a server that decodes, or that doesn't care about case, it does.
	unsure
	yes
)

func (p pattern) match(path []target.Segment) match {
	if len(path) < len(p.literals) || len(path) > len(p.literals) && !p.rest {
		return no
	}
	fits := yes
	for i, literal := range p.literals {
		switch {
		case literal == "*" || path[i].Raw == literal:
		case strings.EqualFold(path[i].Decoded, literal):
			fits = unsure
		default:
			return no
		}
	}
	return fits
}

// covers reports whether every path that fits q fits p.
func (p pattern) covers(q pattern) bool {
	if len(q.literals) < len(p.literals) || !p.rest && (q.rest || len(q.literals) > len(p.literals)) {
		return false
	}
	for i, literal := range p.literals {
		if literal != "*" && literal != q.literals[i] {
			return false
		}
	}
	return true
}

// hostPattern is a name, or "*." and a name for everything below it.
type hostPattern string

func parseHost(text string) (hostPattern, bool) {
	return hostPattern(text), target.IsHostName(strings.TrimPrefix(text, "*."))
}

func (h hostPattern) match(host string) bool {
	if below, wild := strings.CutPrefix(string(h), "*"); wild {
		return strings.HasSuffix(host, below) && len(host) > len(below)
	}
	return string(h) == host
}

// covers reports whether every host that fits q fits h.
func (h hostPattern) covers(q hostPattern) bool {
	below, wild := strings.CutPrefix(string(q), "*")
	if !wild {
		return h.match(string(q))
	}
	return h[0] == '*' && strings.HasSuffix(below, string(h[1:]))
}
