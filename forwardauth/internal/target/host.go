package target

import (
	"net/netip"
	"strings"
)

// canonicalHost takes a DNS name or an address, with or without a port, and returns it in lower case without the port.
func canonicalHost(host string) (string, error) {
	if len(host) > 255 {
		return "", refused("host", "too long")
	}
	name, port, found := cutPort(host)
	if found && !isPort(port) {
		return "", refused("host", "a port that isn't one")
	}
	name = strings.ToLower(name)
	if inner, bracketed := strings.CutPrefix(name, "["); bracketed {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !addr.Is6() || addr.Zone() != "" || addr.String() != strings.TrimSuffix(inner, "]") {
			return "", refused("host", "not an IPv6 address as it is usually written")
		}
		return name, nil
	}
	if !IsHostName(name) {
		return "", refused("host", "neither a name nor an address")
	}
	return name, nil
}

// cutPort finds the colon before a port, which is after the bracket of an IPv6 address.
func cutPort(host string) (name, port string, found bool) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.HasSuffix(host, "]") {
		return host, "", false
	}
	return host[:i], host[i+1:], true
}

func isPort(port string) bool {
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
	}
	return port != "" && len(port) <= 5
}

// IsHostName takes names in lower case whose labels aren't empty; so none ends with a dot.
func IsHostName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
