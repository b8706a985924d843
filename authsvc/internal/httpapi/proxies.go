package httpapi

import (
	"net/netip"
	"strings"
)

// maxProxies bounds how many entries of X-Forwarded-For are looked at.
const maxProxies = 16

// proxies are the networks whose X-Forwarded-For is believed.
type proxies []netip.Prefix

func (p proxies) trust(a netip.Addr) bool {
	for _, network := range p {
		if network.Contains(a) {
			return true
		}
	}
	return false
}

// client returns the address from which a request came to the outermost trusted proxy. Each proxy appends the address that it saw,
// so the list is read from its end, as far as those who wrote it are trusted: whatever stands before is the sender's invention. It
// reports as well whether the peer is trusted.
func (p proxies) client(peer string, forwarded []string) (from string, trusted bool) {
	address, err := netip.ParseAddr(peer)
	if err != nil || !p.trust(address.Unmap().WithZone("")) {
		return peer, false
	}
	address = address.Unmap().WithZone("")
	entries := strings.Split(strings.Join(forwarded, ","), ",")
	for n := len(entries) - 1; n >= 0 && n >= len(entries)-maxProxies; n-- {
		before, ok := forwardedAddress(strings.TrimSpace(entries[n]))
		if !ok {
			break
		}
		if address = before; !p.trust(address) {
			break
		}
	}
	return address.String(), true
}

// forwarded is where a request with X-Forwarded-For came from. The first whose sender isn't trusted is told to the operator, who may
// have forgotten a proxy; it may as well be anybody's invention.
func (s *Server) forwarded(peer string, entries []string) string {
	from, trusted := s.proxies.client(peer, entries)
	if !trusted {
		s.unknownProxy.Do(func() {
			s.log.Warn("X-Forwarded-For of an address that isn't among the trusted proxies is ignored; if it is a proxy, everybody behind it shares its limits", "ip", peer)
		})
	}
	return from
}

// forwardedAddress reads an address; some proxies add the port.
func forwardedAddress(text string) (netip.Addr, bool) {
	address, err := netip.ParseAddr(text)
	if err != nil {
		var with netip.AddrPort
		if with, err = netip.ParseAddrPort(text); err != nil {
			return address, false
		}
		address = with.Addr()
	}
	return address.Unmap().WithZone(""), true
}
