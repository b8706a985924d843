package verifiergrpc

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// Policy says what each method requires. Names are full methods, "/cars.v1.Cars/Buy", or whole services,
// "/cars.v1.Cars/"; a method's own entry goes before its service's.
type Policy struct {
	// Methods are requirements, as those of [verifier.Verifier.Require].
	Methods map[string][]verifier.RouteOption
	// Public needs no credential; none is looked at.
	Public []string
	// Default is for methods that are named nowhere. Without options any good credential will do.
	Default []verifier.RouteOption
}

// routes are a policy's, made once. A nil route is public.
type routes struct {
	named    map[string]*verifier.Route
	fallback *verifier.Route
}

func (p Policy) routes(v *verifier.Verifier) (routes, error) {
	r := routes{named: map[string]*verifier.Route{}}
	for _, name := range p.Public {
		if _, also := p.Methods[name]; also {
			return r, fmt.Errorf("%w: %s is public and has requirements", verifier.ErrConfig, name)
		}
		r.named[name] = nil
	}
	for _, name := range slices.Sorted(maps.Keys(p.Methods)) {
		route, err := v.Route(p.Methods[name]...)
		if err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		r.named[name] = route
	}
	for name := range r.named {
		if err := checkName(name); err != nil {
			return r, fmt.Errorf("%w: %q: %w", verifier.ErrConfig, name, err)
		}
	}
	var err error
	r.fallback, err = v.Route(p.Default...)
	return r, err
}

func checkName(name string) error {
	if !strings.HasPrefix(name, "/") || strings.Count(name, "/") != 2 || strings.HasPrefix(name, "//") {
		return errors.New("want /service/method or /service/")
	}
	return nil
}

// of returns a method's route, nil for a public one.
func (r routes) of(method string) *verifier.Route {
	if route, ok := r.named[method]; ok {
		return route
	}
	if route, ok := r.named[method[:strings.LastIndexByte(method, '/')+1]]; ok {
		return route
	}
	return r.fallback
}
