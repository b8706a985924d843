package forwardauth

import (
	"testing"

	"github.com/tocsin-auth/tocsin/test/proxytest"
)

// short is B of the scenes' sidecars.
var short = map[string]string{"TOCSIN_MAX_STALENESS": "10s"}

func TestBehindNginx(t *testing.T) {
	program := proxytest.Installed(t, "nginx")
	s := startScene(t, "nginx", short)
	text, addr := s.configure(t, "nginx/tocsin.conf")
	s.start(t, addr, program, proxytest.NginxArguments(t, text)...)
	t.Run("unannounced trailers never reach the backend", func(t *testing.T) { s.stripsTrailers(t) })
	t.Run("announced trailers never reach the backend", s.stripsAnnouncedTrailers)
	s.tells = true
	behindAProxy(t, s)
}
