package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/identity"
	"github.com/tocsin-auth/tocsin/forwardauth/internal/routes"
)

const shipped = "../deploy/forwardauth/"

func readShipped(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(shipped + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestTheShippedRoutesAreTaken(t *testing.T) {
	if _, err := routes.Load([]byte(readShipped(t, "routes.yaml"))); err != nil {
		t.Error(err)
	}
}

// TestTheShippedEnvoyIsWhatEnvoyTakes reads it into Envoy's own messages, by their own rules, and looks at what must not be missing.
func TestTheShippedEnvoyIsWhatEnvoyTakes(t *testing.T) {
	var document any
	if err := yaml.Unmarshal([]byte(readShipped(t, "envoy/envoy.yaml")), &document); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	var b bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	if err := b.ValidateAll(); err != nil {
		t.Fatal(err)
	}
	var front hcmv3.HttpConnectionManager
	if err := b.StaticResources.Listeners[0].FilterChains[0].Filters[0].GetTypedConfig().UnmarshalTo(&front); err != nil {
		t.Fatal(err)
	}
	var authz authzv3.ExtAuthz
	if err := front.HttpFilters[0].GetTypedConfig().UnmarshalTo(&authz); err != nil {
		t.Fatal(err)
	}
	if err := authz.ValidateAll(); err != nil {
		t.Error(err)
	}
	if authz.FailureModeAllow || authz.ClearRouteCache || front.NormalizePath.GetValue() || front.MergeSlashes || front.CommonHttpProtocolOptions.GetHeadersWithUnderscoresAction() == 0 ||
		front.PathWithEscapedSlashesAction != hcmv3.HttpConnectionManager_REJECT_REQUEST {
		t.Error("a defence is missing")
	}
}

func TestTheShippedTraefikReplacesEveryHeader(t *testing.T) {
	var document struct {
		HTTP struct {
			Routers     map[string]struct{ Middlewares []string }
			Middlewares map[string]struct {
				ForwardAuth struct {
					Address             string
					TrustForwardHeader  *bool    `yaml:"trustForwardHeader"`
					AuthResponseHeaders []string `yaml:"authResponseHeaders"`
				} `yaml:"forwardAuth"`
			}
		}
	}
	if err := yaml.Unmarshal([]byte(readShipped(t, "traefik/traefik.yaml")), &document); err != nil {
		t.Fatal(err)
	}
	auth := document.HTTP.Middlewares["tocsin"].ForwardAuth
	if !slices.Equal(auth.AuthResponseHeaders, identity.Names) || auth.TrustForwardHeader == nil || *auth.TrustForwardHeader || !strings.HasSuffix(auth.Address, "/check") {
		t.Errorf("%+v", auth)
	}
	if document.HTTP.Routers["service"].Middlewares[0] != "tocsin" {
		t.Error("something comes before the check")
	}
}

// TestTheShippedHAProxyDemandsTheEndOfItsScript: nothing stands between the two lines, and only the script's last one sets the variable.
func TestTheShippedHAProxyDemandsTheEndOfItsScript(t *testing.T) {
	var rules []string
	for line := range strings.Lines(readShipped(t, "haproxy/haproxy.cfg")) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "http-request ") {
			rules = append(rules, line)
		}
	}
	i := slices.Index(rules, "http-request lua.tocsin")
	if i < 0 || i+1 == len(rules) || !strings.HasPrefix(rules[i+1], "http-request deny status 503 ") || !strings.HasSuffix(rules[i+1], " unless { var(txn.tocsin_judged) -m bool }") {
		t.Errorf("rules %q", rules)
	}
	for _, before := range rules[:max(i, 0)] {
		if !strings.HasPrefix(before, "http-request deny ") {
			t.Errorf("before the judgement: %s", before)
		}
	}
	script := readShipped(t, "haproxy/tocsin.lua")
	if last := "    txn:set_var(\"txn.tocsin_judged\", true)\nend, 0)\n"; strings.Count(script, "set_var(") != 1 || !strings.HasSuffix(script, last) {
		t.Error("something else than the last line says that a request was judged")
	}
}

// Each of the others names every header of ours; that they work is tested with the programs themselves, in test/forwardauth.
func TestTheOthersNameEveryHeader(t *testing.T) {
	for _, name := range []string{"nginx/tocsin.conf", "haproxy/tocsin.lua", "caddy/Caddyfile"} {
		text := strings.ToLower(readShipped(t, name))
		for _, header := range identity.Names {
			if !strings.Contains(text, strings.ToLower(header)) {
				t.Errorf("%s doesn't name %s", name, header)
			}
		}
	}
}
