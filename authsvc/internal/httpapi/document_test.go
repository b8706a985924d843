package httpapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
)

var update = flag.Bool("update", false, "write the golden files")

func TestDocumentDescribesEveryRoute(t *testing.T) {
	s := newServer(t, nil)
	w := request{method: "GET", path: "/openapi.json"}.send(s)
	var document struct {
		OpenAPI string                                `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(document.OpenAPI, "3.1.") {
		t.Errorf("version %s", document.OpenAPI)
	}
	if strings.Contains(w.Body.String(), `"$schema"`) || strings.Contains(w.Body.String(), `"422"`) {
		t.Error("huma's own additions are in the document")
	}
	assets := []string{"/docs/docs.css", "/docs/docs.js"}
	err := chi.Walk(s.router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if _, ok := document.Paths[route][strings.ToLower(method)]; !ok && !slices.Contains(assets, route) {
			t.Errorf("%s %s is not in the document", method, route)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The document is the promise to clients: a change of it must be seen in review.
func TestDocumentIsTheGoldenOne(t *testing.T) {
	var got bytes.Buffer
	if err := json.Indent(&got, request{method: "GET", path: "/openapi.json"}.send(newServer(t, nil)).Body.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	path := filepath.Join("testdata", "openapi.json")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s differs; look at the difference after: go test ./internal/httpapi -run Golden -update", path)
	}
}

func TestDocumentationLoadsNothingFromElsewhere(t *testing.T) {
	s := newServer(t, nil)
	for _, path := range []string{"/docs", "/docs/docs.css", "/docs/docs.js"} {
		w := request{method: "GET", path: path}.send(s)
		if w.Code != 200 || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
		if strings.Contains(w.Body.String(), "://") || strings.Contains(w.Body.String(), "innerHTML") {
			t.Errorf("%s refers to something elsewhere or makes markup of text", path)
		}
	}
}

func TestMetadataHoldsNoEmptyArrays(t *testing.T) {
	s := newServer(t, nil)
	for _, path := range []string{pathMetadata, pathOpenID} {
		w := request{method: "GET", path: path}.send(s)
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got["issuer"] != testIssuer || got["jwks_uri"] != testIssuer+"/.well-known/jwks.json" {
			t.Errorf("%s: %v", path, got)
		}
		if types, _ := got["response_types_supported"].([]any); len(types) != 1 || types[0] != "none" {
			t.Errorf("%s: %v", path, got["response_types_supported"])
		}
		for name, value := range got {
			if list, ok := value.([]any); value == nil || ok && len(list) == 0 {
				t.Errorf("%s: %s is empty", path, name)
			}
		}
	}
}
