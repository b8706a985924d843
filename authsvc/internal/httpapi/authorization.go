package httpapi

import (
	"errors"
	"strings"
)

// scheme is an authentication scheme of the Authorization header.
type scheme int

const (
	schemeNone    scheme = iota // no header
	schemeUnknown               // one that we don't speak: as good as none
	schemeBearer
	schemeAPIKey
	schemeBasic
)

var schemes = map[string]scheme{"bearer": schemeBearer, "api-key": schemeAPIKey, "basic": schemeBasic}

// credential is what an Authorization header holds.
type credential struct {
	scheme scheme
	value  string
}

// The ways in which a header is not a credential at all (RFC 6750, section 3.1: invalid_request).
var (
	errRepeatedHeader  = errors.New("the Authorization header is repeated")
	errEmptyHeader     = errors.New("the Authorization header holds no credential")
	errMalformedHeader = errors.New("the Authorization header holds more than one credential")
)

// parseAuthorization reads the values of the Authorization header of one request. Whether the credential is one of ours
// is for the domain to say.
func parseAuthorization(values []string) (credential, error) {
	switch len(values) {
	case 0:
		return credential{}, nil
	case 1:
	default:
		return credential{}, errRepeatedHeader
	}
	name, value, _ := strings.Cut(strings.Trim(values[0], " \t"), " ")
	if name == "" {
		return credential{}, errEmptyHeader
	}
	known, ok := schemes[strings.ToLower(name)]
	if !ok {
		return credential{scheme: schemeUnknown}, nil
	}
	switch value = strings.TrimLeft(value, " "); {
	case value == "":
		return credential{}, errEmptyHeader
	case strings.ContainsAny(value, " \t,"):
		return credential{}, errMalformedHeader
	}
	return credential{scheme: known, value: value}, nil
}
