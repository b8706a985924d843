package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
)

const tagDiscovery = "Discovery"

// metadata is RFC 8414's. Members without a value are left out: empty arrays are not allowed.
type metadata struct {
	Issuer                 string   `json:"issuer"`
	TokenEndpoint          string   `json:"token_endpoint"`
	JWKSURI                string   `json:"jwks_uri"`
	IntrospectionEndpoint  string   `json:"introspection_endpoint"`
	RevocationEndpoint     string   `json:"revocation_endpoint"`
	ResponseTypes          []string `json:"response_types_supported"`
	GrantTypes             []string `json:"grant_types_supported"`
	TokenAuthMethods       []string `json:"token_endpoint_auth_methods_supported"`
	IntrospectionMethods   []string `json:"introspection_endpoint_auth_methods_supported"`
	RevocationMethods      []string `json:"revocation_endpoint_auth_methods_supported"`
	ServiceDocumentation   string   `json:"service_documentation"`
	TocsinFeedKeysURI      string   `json:"tocsin_feed_keys_uri"`
	SubjectTypes           []string `json:"subject_types_supported,omitempty"`
	IDTokenSigningAlgs     []string `json:"id_token_signing_alg_values_supported,omitempty"`
	AccessTokenSigningAlgs []string `json:"access_token_signing_alg_values_supported"`
}

func (s *Server) metadata() metadata {
	keyed := []string{"client_secret_basic"}
	return metadata{
		Issuer:                 s.issuer,
		TokenEndpoint:          s.issuer + "/oauth2/token",
		JWKSURI:                s.issuer + "/.well-known/jwks.json",
		IntrospectionEndpoint:  s.issuer + "/oauth2/introspect",
		RevocationEndpoint:     s.issuer + "/oauth2/revoke",
		ResponseTypes:          []string{"none"},
		GrantTypes:             grants,
		TokenAuthMethods:       append([]string{"none"}, keyed...),
		IntrospectionMethods:   keyed,
		RevocationMethods:      keyed,
		ServiceDocumentation:   s.issuer + "/docs",
		TocsinFeedKeysURI:      s.issuer + "/.well-known/tocsin-feed.json",
		AccessTokenSigningAlgs: []string{s.alg},
	}
}

// jwkSet describes a JWK set in the document.
type jwkSet struct {
	Keys []map[string]any `json:"keys"`
}

// The paths of RFC 8414 and of OpenID Connect Discovery. Where an issuer has a path, the first standard puts it behind
// the well-known segment and the second before it; a proxy that strips the issuer's path leaves both to the second form.
const (
	pathMetadata = "/.well-known/oauth-authorization-server"
	pathOpenID   = "/.well-known/openid-configuration"
)

func (s *Server) mountWellKnown() {
	s.mountGet("/.well-known/jwks.json", "jwks", "Token keys (RFC 7517)", tagDiscovery, reflect.TypeFor[jwkSet](), s.keySet(s.keys.JWKS))
	s.mountGet("/.well-known/tocsin-feed.json", "feed-keys", "Feed keys, a JWK set too", tagDiscovery, reflect.TypeFor[jwkSet](), s.keySet(s.keys.FeedJWKS))
	oauthMetadata, openID := s.metadata(), s.metadata()
	openID.SubjectTypes, openID.IDTokenSigningAlgs = []string{"public"}, []string{s.alg}
	s.mountGet(pathMetadata, "metadata", "Server metadata (RFC 8414)", tagDiscovery, reflect.TypeFor[metadata](), published(oauthMetadata))
	s.mountGet(pathOpenID, "openid-configuration", "The same for clients that look here", tagDiscovery, reflect.TypeFor[metadata](), published(openID))
	if u, err := url.Parse(s.issuer); err == nil && u.Path != "" {
		s.router.Get(pathMetadata+u.EscapedPath(), published(oauthMetadata))
		s.router.Get(pathOpenID+u.EscapedPath(), published(openID))
	}
}

// publicCache is short, so that an emergency rotation is seen soon; verifiers of ours don't rest on it.
const publicCache = "public, max-age=15"

func published(body any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", publicCache)
		writeJSON(w, http.StatusOK, body)
	}
}

func (s *Server) keySet(read func(context.Context) ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		set, err := read(r.Context())
		if err != nil {
			s.problemFor(r.Context(), err).write(w)
			return
		}
		w.Header().Set("Cache-Control", publicCache)
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Write(set)
	}
}
