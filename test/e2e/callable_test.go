package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/test/system"
)

// endsNothing are the calls and commands that neither end nor narrow trust, with the reason. All others are walked by a
// row of endings, or the build fails.
var endsNothing = map[string]string{
	"POST /v1/register":       "makes a user",
	"POST /v1/me/api-keys":    "makes a key",
	"POST /v1/admin/services": "lets a service in",
	"POST /oauth2/introspect": "reads, by POST for the token's sake",

	"PUT /v1/admin/plans":               "sets limits, which end no credential; an instance hears of them when it asks next",
	"DELETE /v1/admin/users/{id}/usage": "gives a quota back",

	"POST /v1/admin/feed-keys/rotate": "ends no credential: what it ends is trust in messages, TestNoCollateralOfAFeedKeyRotation",

	"PATCH /v1/me/api-keys/{id} name":     "names are for people",
	"POST /v1/admin/revocations reason":   "goes to the log only",
	"POST /oauth2/token client_id":        "names who is known already, by the key or as the only public client",
	"POST /oauth2/token scope":            "asks for less than could be had",
	"POST /oauth2/token audience":         "names the only audience that there is",
	"POST /oauth2/token resource":         "names the only audience that there is",
	"POST /oauth2/revoke token_type_hint": "changes nothing, RFC 7009 section 2.1",

	"authctl login":            "does what POST /v1/login does, whose row is there",
	"authctl users list":       "reads",
	"authctl users get":        "reads",
	"authctl keys list":        "reads",
	"authctl keys create":      "makes a key",
	"authctl plans get":        "reads",
	"authctl plans set":        "does what PUT /v1/admin/plans does",
	"authctl usage show":       "reads",
	"authctl usage reset":      "gives a quota back",
	"authctl services list":    "reads",
	"authctl services add":     "lets a service in",
	"authctl verifiers":        "reads",
	"authctl feed-keys rotate": "does what POST /v1/admin/feed-keys/rotate does",
	"authctl nkeys":            "writes files on this machine, offline",
	"authctl version":          "reads",
	"authctl revoke --reason":  "goes to the log only",
}

// everywhere are the flags that all commands, or all that wait, have.
var everywhere = []string{"--help", "--url", "--json", "--http-timeout", "--wait", "--timeout"}

// usage notes what the rows have called.
type usage struct{ called map[string]bool }

func (u *usage) operation(operation string, body map[string]any) {
	u.called[operation] = true
	for property := range body {
		u.called[operation+" "+property] = true
	}
}

func (u *usage) command(args []string) {
	var words []string
	for _, arg := range args {
		switch {
		case !strings.HasPrefix(arg, "-") && len(words) < 2:
			words = append(words, arg)
		case strings.HasPrefix(arg, "--"):
			flag, _, _ := strings.Cut(arg, "=")
			u.called["authctl "+strings.Join(words, " ")+" "+flag] = true
		}
	}
	u.called["authctl "+strings.Join(words, " ")] = true
}

// complete compares what was called with everything that can be: the operations of the API's document that aren't GET,
// with the properties of their bodies, and the commands of authctl with their flags.
func (u *usage) complete(there []string) (problems []string) {
	complain := func(format string, name string) { problems = append(problems, fmt.Sprintf(format, name)) }
	for _, name := range there {
		_, harmless := endsNothing[name]
		switch {
		case u.called[name] && harmless:
			complain("%q is walked, and said to end nothing", name)
		case !u.called[name] && !harmless && !ofHarmless(name):
			complain("%q is walked by no row of endings, nor said to end nothing", name)
		}
	}
	for name := range endsNothing {
		if !slices.Contains(there, name) {
			complain("%q is said to end nothing, and isn't there", name)
		}
	}
	for name := range u.called {
		if !slices.Contains(there, name) {
			complain("%q is walked, and isn't there", name)
		}
	}
	return problems
}

// callable lists everything that can be called.
func callable(t *testing.T, a *system.Auth) []string {
	t.Helper()
	all := append(operations(t, a), commands(t)...)
	if len(all) < 60 {
		t.Fatalf("only %d operations, properties, commands and flags were found: %q", len(all), all)
	}
	return all
}

// ofHarmless reports whether a property or a flag belongs to what ends nothing.
func ofHarmless(name string) bool {
	_, harmless := endsNothing[name[:max(0, strings.LastIndex(name, " "))]]
	return harmless
}

type schema struct {
	Ref        string            `json:"$ref"`
	Properties map[string]schema `json:"properties"`
}

// operations lists what authsvc says of itself.
func operations(t *testing.T, a *system.Auth) (names []string) {
	t.Helper()
	var document struct {
		Paths map[string]map[string]struct {
			RequestBody struct {
				Content map[string]struct{ Schema schema } `json:"content"`
			} `json:"requestBody"`
		} `json:"paths"`
		Components struct{ Schemas map[string]schema } `json:"components"`
	}
	a.Must(t, http.StatusOK, "GET", "/openapi.json", "", nil).Into(t, &document)
	for template, methods := range document.Paths {
		for method, operation := range methods {
			if method == "get" {
				continue
			}
			name := strings.ToUpper(method) + " " + template
			names = append(names, name)
			for _, content := range operation.RequestBody.Content {
				body := content.Schema
				if body.Ref != "" {
					body = document.Components.Schemas[strings.TrimPrefix(body.Ref, "#/components/schemas/")]
				}
				for property := range body.Properties {
					names = append(names, name+" "+property)
				}
			}
		}
	}
	return names
}

var (
	commandLine = regexp.MustCompile(`(?m)^  ([a-z-]+(?: [a-z]+)?)  +[A-Z]`)
	flagLine    = regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z-]+)`)
)

// commands lists what authctl says of itself.
func commands(t *testing.T) (names []string) {
	t.Helper()
	help := func(args ...string) string {
		exit, out := system.Run(t, "authctl", nil, append(args, "--help")...)
		if exit != 0 {
			t.Fatalf("authctl %v --help: %s", args, out)
		}
		return out
	}
	_, list, _ := strings.Cut(help(), "Commands:")
	for _, match := range commandLine.FindAllStringSubmatch(list, -1) {
		name := "authctl " + match[1]
		names = append(names, name)
		if _, harmless := endsNothing[name]; harmless {
			continue
		}
		for _, flag := range flagLine.FindAllStringSubmatch(help(strings.Fields(match[1])...), -1) {
			if !slices.Contains(everywhere, flag[1]) {
				names = append(names, name+" "+flag[1])
			}
		}
	}
	return names
}

// A path that no row walks is noticed, and so is a row or an excuse for what isn't there any more.
func TestACompletenessMatrixWithAHoleFails(t *testing.T) {
	there := callable(t, system.StartAuth(t, nil))
	full := &usage{called: map[string]bool{}}
	for _, name := range there {
		if _, harmless := endsNothing[name]; !harmless && !ofHarmless(name) {
			full.called[name] = true
		}
	}
	if problems := full.complete(there); len(problems) != 0 {
		t.Errorf("without a hole: %q", problems)
	}
	for _, name := range []string{"POST /v1/logout", "POST /v1/admin/revocations session_id", "authctl revoke --session", "authctl keys suspend"} {
		holed := &usage{called: maps.Clone(full.called)}
		delete(holed.called, name)
		if problems := holed.complete(there); len(problems) != 1 || !strings.Contains(problems[0], name) {
			t.Errorf("no row walks %q: %q", name, problems)
		}
		without := slices.DeleteFunc(slices.Clone(there), func(n string) bool { return n == name })
		if problems := full.complete(without); len(problems) != 1 || !strings.Contains(problems[0], name) {
			t.Errorf("there is no %q any more: %q", name, problems)
		}
	}
	if problems := full.complete(append(there, "POST /v1/me/new")); len(problems) != 1 {
		t.Errorf("a new operation: %q", problems)
	}
}
