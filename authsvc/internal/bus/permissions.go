package bus

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Service is a resource service that may join the bus: a row of the services table.
type Service = store.Service

// account names the service's NATS account. Names have no upper-case letters, so two services never share one.
func account(name string) string { return "SVC_" + strings.ToUpper(name) }

func validateName(name string) error {
	if !events.ValidService(name) {
		return fmt.Errorf("service name %q: want [a-z0-9_-]{1,32}", name)
	}
	return nil
}

func validate(s Service) error {
	if err := validateName(s.Name); err != nil {
		return err
	}
	// The decoder passes over line ends, which would break out of the line that the key stands in.
	if !nkeys.IsValidPublicUserKey(s.NKey) || strings.ContainsAny(s.NKey, "\r\n") {
		return fmt.Errorf("service %s: not a public user NKey", s.Name)
	}
	return nil
}

//go:generate go test -run TestShippedConfigurationIsWhatTheTemplateMakes -update .

//go:embed nats.conf.tmpl
var templateText string

// templates holds the one text of the permission set: for the embedded server, for deploy/nats.conf, and for the block
// that an operator appends by hand.
var templates = template.Must(template.New("").Funcs(template.FuncMap{"quote": quote}).Parse(templateText))

// quote writes a string as nats-server's configuration language reads it.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}

// permissions is what the templates are filled with. NKeys are public keys or variables ($NAME).
type permissions struct {
	Listen, StoreDir         string // embedded only
	AuthFeed, AuthReply, Sys string
	Services                 []serviceEntry
	Patience                 time.Duration // [Config.Patience]
}

// AnswerFor is how long an answer to a question is permitted.
func (p permissions) AnswerFor() string { return max(2*time.Second, p.Patience).String() }

// Remember is how long the server remembers a question that isn't answered.
func (p permissions) Remember() string {
	return (max(2*time.Second, p.Patience) + time.Second).String()
}

type serviceEntry struct{ Name, Account, NKey string }

func entry(s Service) serviceEntry {
	return serviceEntry{Name: s.Name, Account: account(s.Name), NKey: s.NKey}
}

// entries validates and orders services, so that the same table always gives the same text.
func entries(services []Service) ([]serviceEntry, error) {
	out := make([]serviceEntry, 0, len(services))
	for _, s := range services {
		if err := validate(s); err != nil {
			return nil, err
		}
		out = append(out, entry(s))
	}
	slices.SortFunc(out, func(a, b serviceEntry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func render(name string, data any) (string, error) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("render %s: %w", name, err)
	}
	return b.String(), nil
}

// AccountBlock returns the text that lets a service join an external NATS: an account for its configuration, with a
// comment that says where it goes.
func AccountBlock(s Service) (string, error) {
	if err := validate(s); err != nil {
		return "", err
	}
	return render("added", entry(s))
}
