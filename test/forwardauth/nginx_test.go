package forwardauth

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// short is B of the scenes' sidecars.
var short = map[string]string{"TOCSIN_MAX_STALENESS": "2s"}

func TestBehindNginx(t *testing.T) {
	program := installed(t, "nginx")
	s := startScene(t, "nginx", short)
	s.startNginx(t, program, "nginx/tocsin.conf")
	behindAProxy(t, s)
}

// startNginx runs nginx with a file of ours where a distribution includes it.
func (s *scene) startNginx(t *testing.T, program, name string) {
	t.Helper()
	text, addr := s.configure(t, name)
	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	main := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr; events {} http { access_log off;
client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
%[2]s }`, dir, text)
	if os.Getuid() == 0 {
		main = "user root; " + main
	}
	if err := os.WriteFile(conf, []byte(main), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t, addr, program, "-e", "stderr", "-c", conf)
}
