package docs

import (
	"os"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events/apikey"
)

func TestThePatternForSecretScannersIsPublished(t *testing.T) {
	text, err := os.ReadFile("../../docs/keys.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "```regexp\n"+apikey.Pattern+"\n```") {
		t.Errorf("docs/keys.md doesn't publish %s", apikey.Pattern)
	}
}
