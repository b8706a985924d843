package bus

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write deploy/nats.conf instead of comparing it")

const shippedFile = "../../../deploy/nats.conf"

func TestShippedConfigurationIsWhatTheTemplateMakes(t *testing.T) {
	got, err := render("shipped", permissions{
		AuthFeed:  "$TOCSIN_NKEY_AUTH_FEED",
		AuthReply: "$TOCSIN_NKEY_AUTH_REPLY",
		Sys:       "$TOCSIN_NKEY_SYS",
		Services:  []serviceEntry{{Name: "resourcesvc", Account: "SVC_RESOURCESVC", NKey: "$TOCSIN_NKEY_RESOURCESVC"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(shippedFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(shippedFile)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("deploy/nats.conf is not what nats.conf.tmpl makes (run make generate):\n%s", d)
	}
}

func TestAccountBlockRefusesWhatCouldEscapeItsPlace(t *testing.T) {
	good, _, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Service{
		{Name: "a.b", NKey: good}, {Name: "*", NKey: good}, {Name: "cars }", NKey: good}, {Name: "", NKey: good},
		{Name: "Cars", NKey: good}, {Name: "cars\n", NKey: good}, {Name: strings.Repeat("a", 33), NKey: good},
		{Name: "cars", NKey: "$HOME"}, {Name: "cars", NKey: ""}, {Name: "cars", NKey: good + "\n"},
	} {
		if _, err := AccountBlock(s); err == nil {
			t.Errorf("AccountBlock(%q, %q) was not refused", s.Name, s.NKey)
		}
	}
}
