package verifiergrpc

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// Policy says what each method requires. Names are full methods, "/cars.v1.Cars/Buy", or whole services,
// "/cars.v1.Cars/"; a method's own entry goes before its service's. Nothing is public that isn't named so, health checks
// and reflection neither.
type Policy struct {
	// Methods are requirements, as those of [verifier.Verifier.Require].
	Methods map[string][]verifier.RouteOption
	// Public needs no credential; none is looked at.
	Public []string
	// Default is for methods that are named nowhere. If it is nil they are refused, whoever calls; if it is an empty list, any
	// good credential will do.
	Default []verifier.RouteOption
}

// entry is what holds for a method. The zero entry is neither public nor has it a route: it is refused.
type entry struct {
	public bool
	route  *verifier.Route
}

// routes are a policy's, made once.
type routes struct {
	named    map[string]entry
	fallback entry
}

func (p Policy) routes(v *verifier.Verifier) (routes, error) {
	r := routes{named: map[string]entry{}}
	for _, name := range p.Public {
		if _, also := p.Methods[name]; also {
			return r, fmt.Errorf("%w: %s is public and has requirements", verifier.ErrConfig, name)
		}
		r.named[name] = entry{public: true}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Methods)) {
		route, err := v.Route(p.Methods[name]...)
		if err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		r.named[name] = entry{route: route}
	}
	for name := range r.named {
		if err := checkName(name); err != nil {
			return r, fmt.Errorf("%w: %q: %w", verifier.ErrConfig, name, err)
		}
	}
	if p.Default == nil {
		return r, nil
	}
	route, err := v.Route(p.Default...)
	if err != nil {
		return r, fmt.Errorf("default: %w", err)
	}
	r.fallback = entry{route: route}
	return r, nil
}

func checkName(name string) error {
	if !strings.HasPrefix(name, "/") || strings.Count(name, "/") != 2 || strings.HasPrefix(name, "//") {
		return errors.New("want /service/method or /service/")
	}
	return nil
}

// of returns what holds for a method. A name that isn't in the one form, under which it could get round its own entry, has
// nothing.
func (r routes) of(method string) entry {
	if checkName(method) != nil {
		return entry{}
	}
	if e, ok := r.named[method]; ok {
		return e
	}
	if e, ok := r.named[method[:strings.LastIndexByte(method, '/')+1]]; ok {
		return e
	}
	return r.fallback
}

// Check compares the policy with what a server has registered; call it before the server serves. An error names, and wraps
// [verifier.ErrConfig] for, each name of the policy that is no method or service of the server's: mistyped, it would leave its
// method to another entry. Methods that are refused because they are named nowhere are named too. What a server's handler
// of unknown services serves can't be checked.
func (g *Guard) Check(server *grpc.Server) error {
	unknown, errs := maps.Clone(g.routes.named), []error(nil)
	services := server.GetServiceInfo()
	for _, service := range slices.Sorted(maps.Keys(services)) {
		delete(unknown, "/"+service+"/")
		for _, m := range services[service].Methods {
			method := "/" + service + "/" + m.Name
			delete(unknown, method)
			if g.routes.of(method) == (entry{}) {
				errs = append(errs, fmt.Errorf("%w: %s is named nowhere", verifier.ErrConfig, method))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		errs = append(errs, fmt.Errorf("%w: %s is not of this server", verifier.ErrConfig, name))
	}
	return errors.Join(errs...)
}
