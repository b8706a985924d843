package httpapi

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
)

// docsFiles is the whole documentation page: nothing of it comes from elsewhere.
//
//go:embed docs/index.html docs/docs.css docs/docs.js
var docsFiles embed.FS

// docsPolicy lets the page load its own two files and ask for the document, and nothing else.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// mountDocument serves /openapi.json and /docs. It comes last: the document is complete then and never changes.
func (s *Server) mountDocument() error {
	s.describe("/openapi.json", "openapi", "This document", tagDiscovery, nil)
	s.describe("/docs", "docs", "This document for people", tagDiscovery, nil)
	document, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		return fmt.Errorf("OpenAPI document: %w", err)
	}
	s.router.Get("/openapi.json", static("application/openapi+json", document))
	for _, asset := range []struct{ path, file, kind string }{
		{"/docs", "docs/index.html", "text/html"},
		{"/docs/docs.css", "docs/docs.css", "text/css"},
		{"/docs/docs.js", "docs/docs.js", "text/javascript"},
	} {
		content, err := fs.ReadFile(docsFiles, asset.file)
		if err != nil {
			return fmt.Errorf("documentation: %w", err)
		}
		s.router.Get(asset.path, static(asset.kind+"; charset=utf-8", content))
	}
	return nil
}

func static(kind string, content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Content-Type", kind)
		header.Set("Content-Security-Policy", docsPolicy)
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-cache")
		w.Write(content)
	}
}
