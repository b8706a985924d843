package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tocsin-auth/tocsin/pkg/events"
)

const (
	minPassword   = 8
	maxPassword   = 128 // of the minimum: a longer demand would refuse what NIST 800-63B says must be accepted
	maxAccessTTL  = 24 * time.Hour
	maxSessionTTL = 10 * 365 * 24 * time.Hour
	// minAuditRetention is auth's.
	minAuditRetention = 2 * maxAccessTTL
)

var usernamePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._@-]{2,63}$`)

// refuse names a flag and says what it must be.
func refuse(flag, format string, args ...any) error {
	return fmt.Errorf("--%s: %s", flag, fmt.Sprintf(format, args...))
}

func (d *Database) complete(getenv func(string) string) error {
	if d.DataDir == "" {
		return refuse("data-dir", "must name a directory")
	}
	if hasPassword(d.DatabaseURL) {
		return refuse("database-url", "holds a password, which belongs into the variable or its _FILE, not on the command line")
	}
	if d.DatabaseURL == "" {
		var err error
		if d.DatabaseURL, err = secret(getenv, "TOCSIN_DATABASE_URL"); err != nil {
			return err
		}
	}
	if d.DatabaseURL == "" {
		d.DatabaseURL = d.defaultURL()
	}
	return checkDatabaseURL(d.DatabaseURL)
}

func checkDatabaseURL(text string) error {
	if path, ok := strings.CutPrefix(text, "sqlite:"); ok && path != "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return refuse("database-url", "must be sqlite:PATH or postgres://…") // the value may hold a password
	}
	return nil
}

func hasPassword(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return u != nil && u.Query().Has("password")
	}
	_, has := u.User.Password()
	return has || u.Query().Has("password")
}

func (s *Serve) complete(getenv func(string) string) error {
	if err := s.Database.complete(getenv); err != nil {
		return err
	}
	var err error
	if s.BootstrapAdminPassword, err = secret(getenv, "TOCSIN_BOOTSTRAP_ADMIN_PASSWORD"); err != nil {
		return err
	}
	if s.SecretsKey, err = secret(getenv, "TOCSIN_SECRETS_KEY"); err != nil {
		return err
	}
	return first(s.checkAddresses(), s.checkNATS(), s.checkIssuer(), s.checkLives(), s.checkAccounts(), s.checkLimits())
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Serve) checkAddresses() error {
	for flag, addr := range map[string]string{"http-addr": s.HTTPAddr, "nats-listen": s.NATSListen} {
		if err := checkAddress(addr); err != nil {
			return refuse(flag, "%q is not HOST:PORT: %v", addr, err)
		}
	}
	return nil
}

func checkAddress(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("host and port are separated by a colon")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("the port is a number from 0 to 65535")
	}
	return nil
}

func (s *Serve) checkNATS() error {
	for _, one := range strings.Split(s.NATSURL, ",") {
		if one = strings.TrimSpace(one); one == "" && s.NATSURL == "" {
			break
		}
		u, err := url.Parse(one)
		if err != nil || u.Host == "" || !strings.Contains(" nats tls ws wss ", " "+u.Scheme+" ") {
			return refuse("nats-url", "must be nats://HOST:PORT or a comma list of such")
		}
		if u.User != nil {
			return refuse("nats-url", "must hold no credentials: they belong into the file of --nats-creds")
		}
	}
	switch {
	case s.NATSURL == "" && s.NATSCreds != "":
		return refuse("nats-creds", "goes with --nats-url; the embedded server makes its own")
	case s.StreamReplicas != 1 && s.StreamReplicas != 3 && s.StreamReplicas != 5:
		return refuse("stream-replicas", "%d is not 1, 3 or 5", s.StreamReplicas)
	case s.StreamMaxAge < time.Hour:
		return refuse("stream-max-age", "%s is below 1h", s.StreamMaxAge)
	}
	if s.NATSReplyCreds == "" {
		s.NATSReplyCreds = s.NATSCreds
	}
	return nil
}

// checkIssuer follows RFC 8414: a URL without query or fragment. A trailing slash is refused because every published
// URL is the issuer with a path appended.
func (s *Serve) checkIssuer() error {
	if !events.ValidText(s.Audience) {
		return refuse("audience", "must be 1 to 256 bytes of text without control characters")
	}
	if s.Issuer == "" {
		return nil
	}
	u, err := url.Parse(s.Issuer)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return refuse("issuer", "%q is not an http or https URL", s.Issuer)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s.Issuer, "#"):
		return refuse("issuer", "must have no user, query or fragment")
	case strings.HasSuffix(s.Issuer, "/"):
		return refuse("issuer", "%q must not end in a slash", s.Issuer)
	}
	return nil
}

func (s *Serve) checkLives() error {
	switch {
	case s.AccessTTL < time.Second || s.AccessTTL > maxAccessTTL || s.AccessTTL%time.Second != 0:
		return refuse("access-ttl", "%s is not whole seconds from 1s to %s", s.AccessTTL, maxAccessTTL)
	case s.RefreshTTL < s.AccessTTL || s.RefreshTTL > maxSessionTTL:
		return refuse("refresh-ttl", "%s is below --access-ttl or above ten years", s.RefreshTTL)
	case s.AuditRetention != 0 && s.AuditRetention < minAuditRetention:
		return refuse("audit-retention", "%s is neither 0s nor %s or more", s.AuditRetention, minAuditRetention)
	case s.RefreshIdle < time.Second || s.RefreshIdle > s.RefreshTTL:
		return refuse("refresh-idle", "%s is below 1s or above --refresh-ttl", s.RefreshIdle)
	}
	return nil
}

func (s *Serve) checkAccounts() error {
	s.BootstrapAdmin = strings.ToLower(s.BootstrapAdmin)
	length := utf8.RuneCountInString(s.BootstrapAdminPassword)
	switch {
	case s.PasswordMin < minPassword || s.PasswordMin > maxPassword:
		return refuse("password-min", "%d is not from %d to %d", s.PasswordMin, minPassword, maxPassword)
	case !usernamePattern.MatchString(s.BootstrapAdmin):
		return refuse("bootstrap-admin", "%q is no username: %s", s.BootstrapAdmin, usernamePattern)
	case length > 0 && length < s.PasswordMin:
		return fmt.Errorf("TOCSIN_BOOTSTRAP_ADMIN_PASSWORD: is shorter than --password-min, %d", s.PasswordMin)
	}
	return nil
}

// DefaultIssuer is the issuer when none is configured, for the address that HTTP is really bound to. A server that
// listens on every address is reachable on this machine's own.
func DefaultIssuer(bound net.Addr) string {
	host, port, err := net.SplitHostPort(bound.String())
	if err != nil {
		return "http://" + bound.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// TrustedIssuer reports whether verifiers fetch keys from an issuer: over HTTPS, or from their own machine.
func TrustedIssuer(issuer string) bool {
	u, err := url.Parse(issuer)
	if err != nil || u.Scheme == "https" {
		return err == nil
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || (ip != nil && ip.IsLoopback())
}
