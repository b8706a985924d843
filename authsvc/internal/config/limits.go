package config

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Limit allows Times at once, and as many again in each Per, evenly. The zero Limit allows all.
type Limit struct {
	Times int
	Per   time.Duration
}

const (
	maxTimes = 1_000_000
	maxPer   = 24 * time.Hour
)

var errLimit = errors.New("must be TIMES/DURATION, such as 60/10m, of 1 to 1000000 and 1s to 24h, or off")

// UnmarshalText reads 60/10m, or off.
func (l *Limit) UnmarshalText(text []byte) error {
	if string(text) == "off" {
		*l = Limit{}
		return nil
	}
	times, per, _ := strings.Cut(string(text), "/")
	n, err := strconv.Atoi(times)
	d, perErr := time.ParseDuration(per)
	if err != nil || perErr != nil || n < 1 || n > maxTimes || d < time.Second || d > maxPer {
		return errLimit
	}
	*l = Limit{Times: n, Per: d}
	return nil
}

const maxAccountTries = 100 // NIST SP 800-63B-4: no more failures in a row without anything that slows them down

func (s *Serve) checkLimits() error {
	if s.LimitAccountTries < 0 || s.LimitAccountTries > maxAccountTries {
		return refuse("limit-account-tries", "%d is not from 0 to %d", s.LimitAccountTries, maxAccountTries)
	}
	for _, text := range s.TrustedProxies {
		network, err := netip.ParsePrefix(text)
		if address, single := netip.ParseAddr(text); single == nil {
			network, err = address.Unmap().Prefix(address.Unmap().BitLen())
		}
		if err != nil || network != network.Masked() || network.Addr().Is4In6() {
			return refuse("trusted-proxies", "%q is no address and no network such as 10.1.0.0/16", text)
		}
		s.Proxies = append(s.Proxies, network)
	}
	return nil
}
