package identity

import (
	"strings"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// Prefix is what the names of all our headers begin with, in lower case.
const Prefix = "tocsin-"

// The headers of an accepted request. What a credential doesn't tell has none. They are in canonical form for net/http.
const (
	Subject = "Tocsin-Subject"
	Roles   = "Tocsin-Roles" // separated by commas
	Mode    = "Tocsin-Mode"
	Method  = "Tocsin-Method"
	Session = "Tocsin-Session"
	KeyID   = "Tocsin-Key-Id"
	Plan    = "Tocsin-Plan"
	Actor   = "Tocsin-Actor"
	Token   = "Tocsin-Identity" // the JWT
)

// Names are all of them: proxies remove each from what a client sent.
var Names = []string{Subject, Roles, Mode, Method, Session, KeyID, Plan, Actor, Token}

// Header is one line.
type Header struct{ Name, Value string }

// Headers returns those of a principal, without the JWT. It is false if one can't be sent: authsvc makes no such names, so
// something is wrong.
func Headers(p *verifier.Principal) ([]Header, bool) {
	all := make([]Header, 0, len(Names))
	for _, h := range [...]Header{
		{Subject, p.Subject}, {Roles, strings.Join(p.Roles, ",")}, {Mode, string(p.Mode)}, {Method, string(p.Method)},
		{Session, p.SessionID}, {KeyID, p.KeyID}, {Plan, p.Plan}, {Actor, p.Actor},
	} {
		if h.Value == "" {
			continue
		}
		if !isVisible(h.Value) || h.Name != Roles && strings.Contains(h.Value, ",") {
			return nil, false
		}
		all = append(all, h)
	}
	return all, p.Subject != ""
}

// isVisible: ASCII without blanks and controls.
func isVisible(value string) bool {
	for i := range len(value) {
		if value[i] <= ' ' || value[i] >= 0x7f {
			return false
		}
	}
	return true
}

// IsOurs reports whether a header that a client sent could be taken for one of ours by someone: in any case, and with
// anything in place of the dashes, since CGI and WSGI turn dashes into underscores, and some servers whatever isn't a letter or a digit.
func IsOurs(name string) bool { return strings.HasPrefix(Normal(name), Prefix) }

// Normal is a header's name in lower case, with dashes for all that is neither a letter nor a digit.
func Normal(name string) string {
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return strings.Map(normal, name)
		}
	}
	return name
}

func normal(r rune) rune {
	switch {
	case r >= 'A' && r <= 'Z':
		return r - 'A' + 'a'
	case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
		return r
	}
	return '-'
}
