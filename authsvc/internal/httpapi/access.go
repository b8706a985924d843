package httpapi

import (
	"context"
	"net"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

// access says who may make a call. Whether the caller has the role is decided in the domain, afresh; the role stands
// here to be named in the document and in a 403.
type access struct {
	bearer bool
	apiKey bool
	role   string
}

var (
	open      = access{}
	bearer    = access{bearer: true}
	either    = access{bearer: true, apiKey: true}
	admin     = access{bearer: true, role: auth.RoleAdmin}
	directory = access{bearer: true, apiKey: true, role: auth.RoleDirectory}
	queue     = access{bearer: true, apiKey: true, role: auth.RoleQueue}
)

// realm is the protection space of every challenge.
const realm = `realm="tocsin"`

// challenge adds one WWW-Authenticate line for each scheme that the call takes; the attributes go to the line of the
// scheme that was used.
func (p *Problem) challenge(a access, used scheme, attributes string) {
	line := func(name string, s scheme) {
		value := name + " " + realm
		if s == used && attributes != "" {
			value += ", " + attributes
		}
		p.header.Add("WWW-Authenticate", value)
	}
	if a.bearer || !a.apiKey {
		line("Bearer", schemeBearer)
	}
	if a.apiKey {
		line("Api-Key", schemeAPIKey)
	}
}

type contextKey int

const (
	keyAccess contextKey = iota
	keyScheme
	keyCaller
	keyRequestID
	keyClient
	keyObserved
)

func accessFrom(ctx context.Context) access {
	a, _ := ctx.Value(keyAccess).(access)
	return a
}

func schemeUsed(ctx context.Context) scheme {
	s, _ := ctx.Value(keyScheme).(scheme)
	return s
}

func callerFrom(ctx context.Context) auth.Caller {
	c, _ := ctx.Value(keyCaller).(auth.Caller)
	return c
}

func clientFrom(ctx context.Context) auth.Client {
	c, _ := ctx.Value(keyClient).(auth.Client)
	return c
}

// authenticate is huma middleware that lets a request through only with a credential that the call takes, and puts the
// caller into its context.
func (s *Server) authenticate(a access) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		r, w := humachi.Unwrap(hc)
		ctx := context.WithValue(hc.Context(), keyAccess, a)
		if a != open {
			caller, used, problem := s.caller(ctx, r, a)
			if problem != nil {
				problem.write(w)
				return
			}
			ctx = context.WithValue(context.WithValue(ctx, keyScheme, used), keyCaller, caller)
		}
		next(huma.WithContext(hc, ctx))
	}
}

// caller checks the credential of a request (RFC 6750, section 3.1, for every scheme alike).
func (s *Server) caller(ctx context.Context, r *http.Request, a access) (auth.Caller, scheme, *Problem) {
	given, err := parseAuthorization(r.Header.Values("Authorization"))
	if err != nil {
		p := invalidRequest(err.Error(), FieldError{Field: "Authorization", Message: err.Error()})
		p.challenge(a, schemeBearer, `error="invalid_request"`)
		return auth.Caller{}, schemeNone, p
	}
	var caller auth.Caller
	switch {
	case given.scheme == schemeBearer && a.bearer:
		caller, err = s.auth.AuthenticateBearer(ctx, given.value, clientFrom(ctx))
	case given.scheme == schemeAPIKey && a.apiKey:
		caller, err = s.auth.AuthenticateKey(ctx, given.value, clientFrom(ctx))
	default:
		p := newProblem(http.StatusUnauthorized, auth.CodeUnauthenticated, "the call wants a credential of a scheme that WWW-Authenticate names")
		p.challenge(a, schemeNone, "")
		return auth.Caller{}, schemeNone, p
	}
	if err != nil {
		return auth.Caller{}, schemeNone, s.problemFor(context.WithValue(ctx, keyScheme, given.scheme), err)
	}
	noteCaller(ctx, caller)
	return caller, given.scheme, nil
}

const maxUserAgent = 256

// clientOf tells where a request came from. Headers that claim another address are believed of trusted proxies alone: anyone can
// send them.
func (s *Server) clientOf(r *http.Request) auth.Client {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if forwarded := r.Header.Values("X-Forwarded-For"); forwarded != nil {
		host = s.forwarded(host, forwarded)
	}
	return auth.Client{IP: host, UserAgent: printable(r.UserAgent(), maxUserAgent)}
}

// printable makes a text of the sender's fit for the database and for terminals.
func printable(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, text)
	for len(text) > limit {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}
