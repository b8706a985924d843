package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestTheWaysToSpeakToAHostStayTogether(t *testing.T) {
	for address, want := range map[string]string{
		"postgres://u@a/d?sslmode=disable":               "a:5432 plain",
		"postgres://u@a:1,b:2/d?sslmode=disable":         "a:1 plain | b:2 plain",
		"postgres://u@a:1,b:2/d?sslmode=prefer":          "a:1 TLS for a, plain | b:2 TLS for b, plain",
		"postgres://u@a:1,a:2,b:1/d?sslmode=verify-full": "a:1 TLS for a | a:2 TLS for a | b:1 TLS for b",
	} {
		config, err := pgx.ParseConfig(address)
		if err != nil {
			t.Fatal(err)
		}
		var hosts []string
		for _, one := range perHost(config) {
			ways := []string{way(one.TLSConfig != nil, one.Host)}
			for _, fallback := range one.Fallbacks {
				if fallback.Host != one.Host || fallback.Port != one.Port {
					t.Errorf("%s: %s falls back to %s", address, one.Host, fallback.Host)
				}
				ways = append(ways, way(fallback.TLSConfig != nil, fallback.Host))
			}
			if one.TLSConfig != nil && one.TLSConfig.ServerName != "" && one.TLSConfig.ServerName != one.Host {
				t.Errorf("%s: %s is to prove that it is %s", address, one.Host, one.TLSConfig.ServerName)
			}
			hosts = append(hosts, fmt.Sprintf("%s:%d %s", one.Host, one.Port, strings.Join(ways, ", ")))
		}
		if got := strings.Join(hosts, " | "); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

func way(tls bool, host string) string {
	if tls {
		return "TLS for " + host
	}
	return "plain"
}
