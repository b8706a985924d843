package identity

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/target"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// claims are what a backend learns. Names are of RFC 7519, 8693 and 9449 where those have one.
type claims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`

	// The one request that it is for: method, host and path as the proxy forwards them, the path without query.
	Method string `json:"htm"`
	Host   string `json:"host"`
	Path   string `json:"path"`

	Subject    string   `json:"sub"`
	Roles      []string `json:"roles"`
	Mode       string   `json:"mode"`
	AuthMethod string   `json:"auth_method"`
	Session    string   `json:"sid,omitempty"`
	KeyID      string   `json:"key_id,omitempty"`
	Plan       string   `json:"plan,omitempty"`
	Actor      *actor   `json:"act,omitempty"`
}

type actor struct {
	Subject string `json:"sub"`
}

func newClaims(issuer, backend string, asked *target.Target, p *verifier.Principal) claims {
	c := claims{
		Issuer: issuer, Audience: backend, Method: asked.Method, Host: asked.Host, Path: asked.Path,
		Subject: p.Subject, Roles: append([]string{}, p.Roles...), Mode: string(p.Mode), AuthMethod: string(p.Method),
		Session: p.SessionID, KeyID: p.KeyID, Plan: p.Plan,
	}
	if p.Actor != "" {
		c.Actor = &actor{p.Actor}
	}
	return c
}

// lasting sets the times: it ends after life, or with the credential if that is earlier.
func (c *claims) lasting(now, end time.Time, life time.Duration) {
	c.IssuedAt, c.Expires = now.Unix(), now.Add(life).Unix()
	if !end.IsZero() {
		c.Expires = min(c.Expires, end.Unix())
	}
}

// encode leaves "&" as it is: six bytes for each of a path's would make tokens that no proxy has room for.
func (c *claims) encode() []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(c); err != nil {
		panic(err) // strings and numbers only
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}
