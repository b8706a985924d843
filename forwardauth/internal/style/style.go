// Package style reads from the headers of a proxy's question what the client had asked the proxy for, in the way of the one
// proxy that is configured, and refuses headers by which somebody else might have said it.
package style

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/identity"
)

// Style is how a proxy asks.
type Style struct {
	Name string
	// Method, Host and URI are the headers that hold those of the client's request, in canonical form; empty for Envoy, whose
	// questions have fields for them.
	Method, Host, URI string
	// Only403 is for nginx, whose auth_request passes on no status but 401 and 403, and no body.
	Only403 bool
}

// Styles are those that there are.
var Styles = []Style{
	{Name: "nginx", Method: "X-Original-Method", Host: "X-Original-Host", URI: "X-Original-Uri", Only403: true},
	{Name: "haproxy", Method: "X-Original-Method", Host: "X-Original-Host", URI: "X-Original-Uri"},
	{Name: "caddy", Method: "X-Forwarded-Method", Host: "X-Forwarded-Host", URI: "X-Forwarded-Uri"},
	{Name: "traefik", Method: "X-Forwarded-Method", Host: "X-Forwarded-Host", URI: "X-Forwarded-Uri"},
	{Name: "envoy"},
}

// Named returns a style.
func Named(name string) (Style, bool) {
	i := slices.IndexFunc(Styles, func(s Style) bool { return s.Name == name })
	if i < 0 {
		return Style{}, false
	}
	return Styles[i], true
}

// The refusals. ErrProxy means that the proxy is not configured as deploy/forwardauth shows; the others are the client's doing.
var (
	ErrProxy      = errors.New("the proxy doesn't say once what was asked for")
	ErrIdentity   = errors.New("a header that only the proxy may set")
	ErrSteering   = errors.New("a header that may show a backend another path, host or method")
	ErrUnderscore = errors.New("a header with an underscore in its name, which some backends take for a dash")
	ErrConnection = errors.New("a Connection header that names one of the proxy's")
)

// steering are headers by which some backend or proxy takes another path, host or method than the request's own, in the form of
// [identity.Normal].
var steering = map[string]bool{
	"x-original-uri": true, "x-original-url": true, "x-original-path": true, "x-original-method": true, "x-original-host": true,
	"x-rewrite-url": true, "x-override-url": true, "x-forwarded-uri": true, "x-forwarded-path": true, "x-forwarded-method": true, "x-forwarded-host": true,
	"x-http-method": true, "x-http-method-override": true, "x-method-override": true, "x-envoy-original-path": true, "x-envoy-original-host": true,
	"script-name": true, "path-info": true, "x-script-name": true, "x-forwarded-prefix": true, "x-host": true, "x-http-host-override": true, "forwarded": true,
}

// suspicious are the bytes that a name begins with which is ours or steers.
var suspicious = func() (first [256]bool) {
	for name := range steering {
		first[name[0]], first[name[0]-'a'+'A'] = true, true
	}
	first['t'], first['T'] = true, true // as identity.Prefix
	return first
}()

// Check refuses headers that could be taken, by anyone and in any spelling, for ours or for the proxy's.
func (s Style) Check(h http.Header) error {
	for name := range h {
		if err := s.checkName(name); err != nil {
			return err
		}
	}
	for _, value := range h["Connection"] {
		for token := range strings.SplitSeq(value, ",") {
			if s.isProtected(identity.Normal(strings.Trim(token, " \t"))) {
				return ErrConnection
			}
		}
	}
	return nil
}

// checkName looks closer only at what begins as ours or as a steering header does. A gateway that hands headers on as CGI does has one
// namespace for SCRIPT_NAME and the like, and cannot tell underscores from dashes: so none is taken.
func (s Style) checkName(name string) error {
	if name == "" {
		return ErrSteering
	}
	underscore := strings.IndexByte(name, '_') >= 0
	if !underscore && (!suspicious[name[0]] || s.isOwn(name)) {
		return nil
	}
	normal := identity.Normal(name)
	switch {
	case strings.HasPrefix(normal, identity.Prefix):
		return ErrIdentity
	case steering[normal]:
		return ErrSteering
	case underscore:
		return ErrUnderscore
	}
	return nil
}

// isOwn: by its exact spelling, which net/http makes of any case, but not of underscores.
func (s Style) isOwn(name string) bool {
	return name != "" && (name == s.Method || name == s.Host || name == s.URI)
}

// isProtected says which headers no hop may be told to drop.
func (s Style) isProtected(normal string) bool {
	return strings.HasPrefix(normal, identity.Prefix) || normal == "authorization" || s.isOwn(textproto.CanonicalMIMEHeaderKey(normal))
}

// Read returns what the client asked the proxy for.
func (s Style) Read(h http.Header) (method, host, uri string, err error) {
	for _, header := range []struct {
		name  string
		value *string
	}{{s.Method, &method}, {s.Host, &host}, {s.URI, &uri}} {
		values := h[header.name]
		if len(values) != 1 || values[0] == "" {
			return "", "", "", fmt.Errorf("%w: %d times %s", ErrProxy, len(values), header.name)
		}
		*header.value = values[0]
	}
	return method, host, uri, nil
}
