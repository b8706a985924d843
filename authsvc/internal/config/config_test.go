package config

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestDefaultsAreTheContracts(t *testing.T) {
	cfg, err := Parse([]string{"serve"}, env(), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	s := cfg.Serve
	got := []any{cfg.Command, s.HTTPAddr, s.DataDir, s.DatabaseURL, s.NATSURL, s.NATSListen, s.Issuer, s.Audience, s.SigningAlg,
		s.AccessTTL, s.RefreshTTL, s.RefreshIdle, s.PasswordMin, s.BootstrapAdmin, s.BootstrapAdminPassword}
	want := []any{"serve", "127.0.0.1:8080", "./data", "sqlite:data/tocsin.db", "", "127.0.0.1:4222", "", "tocsin", "EdDSA",
		15 * time.Minute, 720 * time.Hour, 168 * time.Hour, 12, "admin", ""}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("value %d is %v, want %v", i, got[i], want[i])
		}
	}
}

func TestVariablesAndFlagsAreAlike(t *testing.T) {
	cfg, err := Parse([]string{"serve", "--audience", "flag"}, env("TOCSIN_AUDIENCE", "variable", "TOCSIN_ACCESS_TTL", "90s",
		"TOCSIN_HTTP_ADDR", "127.0.0.1:0", "TOCSIN_ISSUER", "", "TOCSIN_DATABASE_URL", "postgres://u:p@db/tocsin"), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if s := cfg.Serve; s.Audience != "flag" || s.AccessTTL != 90*time.Second || s.HTTPAddr != "127.0.0.1:0" || s.DatabaseURL != "postgres://u:p@db/tocsin" {
		t.Errorf("got %+v", s)
	}
}

func TestBadValueNamesItselfInOneLine(t *testing.T) {
	for _, test := range []struct {
		args  []string
		env   []string
		names string
	}{
		{[]string{"serve", "--access-ttl=abc"}, nil, "--access-ttl (TOCSIN_ACCESS_TTL)"},
		{[]string{"serve"}, []string{"TOCSIN_ACCESS_TTL", "a\nb"}, "--access-ttl (TOCSIN_ACCESS_TTL)"},
		{[]string{"serve"}, []string{"TOCSIN_ACCESS_TTL", "1500ms"}, "--access-ttl"},
		{[]string{"serve"}, []string{"TOCSIN_ACCESS_TTL", "-1s"}, "--access-ttl"},
		{[]string{"serve", "--access-ttl=48h"}, nil, "--access-ttl"},
		{[]string{"serve", "--refresh-ttl=1m"}, nil, "--refresh-ttl"},
		{[]string{"serve", "--refresh-idle=1000h"}, nil, "--refresh-idle"},
		{[]string{"serve"}, []string{"TOCSIN_PASSWORD_MIN", "7"}, "--password-min (TOCSIN_PASSWORD_MIN)"},
		{[]string{"serve"}, []string{"TOCSIN_PASSWORD_MIN", "many"}, "--password-min"},
		{[]string{"serve"}, []string{"TOCSIN_SIGNING_ALG", "HS256"}, "--signing-alg"},
		{[]string{"serve"}, []string{"TOCSIN_SIGNING_ALG", "eddsa"}, "--signing-alg"},
		{[]string{"serve", "--http-addr=localhost"}, nil, "--http-addr"},
		{[]string{"serve", "--http-addr=localhost:99999"}, nil, "--http-addr"},
		{[]string{"serve", "--nats-listen=:x"}, nil, "--nats-listen"},
		{[]string{"serve", "--nats-url=http://x"}, nil, "--nats-url"},
		{[]string{"serve", "--nats-url=nats://u:p@x"}, nil, "--nats-url"},
		{[]string{"serve", "--nats-url=nats://a,"}, nil, "--nats-url"},
		{[]string{"serve", "--nats-creds=x"}, nil, "--nats-creds"},
		{[]string{"serve", "--stream-replicas=2"}, nil, "--stream-replicas"},
		{[]string{"serve", "--issuer=auth.example.com"}, nil, "--issuer"},
		{[]string{"serve", "--issuer=https://auth.example.com/"}, nil, "--issuer"},
		{[]string{"serve", "--issuer=https://auth.example.com?x=y"}, nil, "--issuer"},
		{[]string{"serve", "--issuer=https://u@auth.example.com"}, nil, "--issuer"},
		{[]string{"serve", "--audience=a\x00b"}, nil, "--audience"},
		{[]string{"serve", "--bootstrap-admin=a b"}, nil, "--bootstrap-admin"},
		{[]string{"serve"}, []string{"TOCSIN_BOOTSTRAP_ADMIN_PASSWORD", "short"}, "TOCSIN_BOOTSTRAP_ADMIN_PASSWORD"},
		{[]string{"serve"}, []string{"TOCSIN_BOOTSTRAP_ADMIN_PASSWORD_FILE", "/nonexistent"}, "TOCSIN_BOOTSTRAP_ADMIN_PASSWORD_FILE"},
		{[]string{"serve", "--database-url=mysql://x"}, nil, "--database-url"},
		{[]string{"serve", "--database-url=postgres://u:secret@x"}, nil, "--database-url"},
		{[]string{"serve", "--database-url=postgres://x?password=secret"}, nil, "--database-url"},
		{[]string{"migrate", "--database-url=sqlite:"}, nil, "--database-url"},
		{[]string{"serve", "--log-level=loud"}, nil, "--log-level"},
		{[]string{"serve"}, []string{"TOCSIN_LIMIT_LOGINS", "60"}, "--limit-logins (TOCSIN_LIMIT_LOGINS)"},
		{[]string{"serve"}, []string{"TOCSIN_AUDIT_RETENTION", "24h"}, "--audit-retention (TOCSIN_AUDIT_RETENTION)"},
		{[]string{"serve", "--audit-retention=-72h"}, nil, "--audit-retention"},
		{[]string{"serve", "--limit-logins=0/1m"}, nil, "--limit-logins"},
		{[]string{"serve", "--limit-registrations=5/1ms"}, nil, "--limit-registrations"},
		{[]string{"serve", "--limit-credentials=9999999/1m"}, nil, "--limit-credentials"},
		{[]string{"serve", "--limit-credentials=never"}, nil, "--limit-credentials"},
		{[]string{"serve", "--limit-account-tries=101"}, nil, "--limit-account-tries"},
		{[]string{"serve", "--limit-account-tries=-1"}, nil, "--limit-account-tries"},
		{[]string{"serve"}, []string{"TOCSIN_TRUSTED_PROXIES", "10.0.0.0/8,proxy"}, "--trusted-proxies (TOCSIN_TRUSTED_PROXIES)"},
		{[]string{"serve", "--trusted-proxies=10.0.0.1/8"}, nil, "--trusted-proxies"},
		{[]string{"serve", "--bootstrap-admin-password=x"}, nil, "--bootstrap-admin-password"},
		{[]string{"swerve"}, nil, "swerve"},
		{nil, nil, "serve"},
		{[]string{"serve", "extra"}, nil, "extra"},
	} {
		_, err := Parse(test.args, env(test.env...), &bytes.Buffer{})
		if err == nil {
			t.Errorf("%q %q: no error", test.args, test.env)
			continue
		}
		if text := err.Error(); !strings.Contains(text, test.names) || strings.ContainsAny(text, "\r\n") || strings.Contains(text, "secret@") {
			t.Errorf("%q %q: %q", test.args, test.env, text)
		}
	}
}

func TestLimitsAreReadAsWritten(t *testing.T) {
	cfg, err := Parse([]string{"serve"}, env(), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	s := cfg.Serve
	if s.LimitLogins != (Limit{60, 10 * time.Minute}) || s.LimitRegistrations != (Limit{100, time.Hour}) || s.LimitCredentials != (Limit{300, time.Minute}) ||
		s.LimitAccountTries != 10 || s.Proxies != nil {
		t.Errorf("defaults: %+v", s)
	}
	cfg, err = Parse([]string{"serve", "--limit-logins=off", "--limit-account-tries=0"},
		env("TOCSIN_LIMIT_REGISTRATIONS", "5/30s", "TOCSIN_TRUSTED_PROXIES", "10.0.0.0/8,192.0.2.1,2001:db8::/32,::ffff:192.0.2.2"), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	s = cfg.Serve
	if s.LimitLogins != (Limit{}) || s.LimitRegistrations != (Limit{5, 30 * time.Second}) || s.LimitAccountTries != 0 ||
		fmt.Sprint(s.Proxies) != "[10.0.0.0/8 192.0.2.1/32 2001:db8::/32 192.0.2.2/32]" {
		t.Errorf("%+v", s)
	}
}

func TestHelpShowsEveryFlagWithItsDefaultAndVariable(t *testing.T) {
	var out bytes.Buffer
	if _, err := Parse([]string{"serve", "--help"}, env(), &out); !errors.Is(err, ErrHelp) {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"--http-addr=", "$TOCSIN_HTTP_ADDR", "127.0.0.1:8080", "--access-ttl=15m", "--password-min=12",
		"--data-dir=", "./data", "--audience=\"tocsin\"", "--nats-listen", "127.0.0.1:4222", "TOCSIN_BOOTSTRAP_ADMIN_PASSWORD"} {
		if !strings.Contains(text, want) {
			t.Errorf("help lacks %q:\n%s", want, out.String())
		}
	}
}

func TestSecretComesFromVariableOrFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte("correct horse battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Parse([]string{"serve"}, env("TOCSIN_BOOTSTRAP_ADMIN_PASSWORD_FILE", path), &bytes.Buffer{})
	if err != nil || cfg.Serve.BootstrapAdminPassword != "correct horse battery" {
		t.Fatalf("%v", err)
	}
	if _, err := Parse([]string{"serve"}, env("TOCSIN_SECRETS_KEY_FILE", path, "TOCSIN_SECRETS_KEY", "x"), &bytes.Buffer{}); err == nil {
		t.Error("both a variable and its file were accepted")
	}
}

func TestDataDirectoryIsPrivateAndHeldByOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "data")
	dir, err := OpenDataDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o700 || dir.Exposed {
		t.Errorf("mode %v, exposed %v", info.Mode(), dir.Exposed)
	}
	if _, err := OpenDataDir(path); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("second holder: %v", err)
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenDataDir(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestDefaultIssuerIsReachable(t *testing.T) {
	for bound, want := range map[string]string{"127.0.0.1:80": "http://127.0.0.1:80", "[::]:81": "http://127.0.0.1:81", "[::1]:82": "http://[::1]:82"} {
		addr, err := net.ResolveTCPAddr("tcp", bound)
		if err != nil {
			t.Fatal(err)
		}
		if got := DefaultIssuer(addr); got != want {
			t.Errorf("%s: %s, want %s", bound, got, want)
		}
	}
}

func TestPlainHTTPIsTrustedOnThisMachineOnly(t *testing.T) {
	for issuer, want := range map[string]bool{"https://auth.example.com": true, "http://127.0.0.1:8080": true, "http://localhost": true, "http://[::1]:1": true,
		"http://auth.example.com": false, "http://10.0.0.1": false, "http://localhost.example.com": false} {
		if got := TrustedIssuer(issuer); got != want {
			t.Errorf("%s: %v", issuer, got)
		}
	}
}
