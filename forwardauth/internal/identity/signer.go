// Package identity tells a backend who is calling, by a short JWT that is for one method and one path of one backend, and by plain headers.
//
// The JWT lets a backend believe the sidecar without trusting the network between. It is signed with the sidecar's own
// Ed25519 key, so that it can never pass for an access token of authsvc: issuer, key, typ and audience differ.
package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/target"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/pkg/verifier"
)

// Type is the typ of the JWTs.
const Type = "tocsin-identity+jwt"

// MaxLife is how long a JWT may live at most.
const MaxLife = 30 * time.Second

// Signer makes JWTs. It is safe for concurrent use.
type Signer struct {
	issuer string
	life   time.Duration
	key    ed25519.PrivateKey
	header string // encoded, with its dot
	now    func() time.Time

	// A JWT is given out again for a request that would get the same one, for half of its life, since a signature costs more than all
	// the rest of a decision.
	mu    sync.Mutex
	made  map[string]string // GUARDED_BY mu; by what is in them, without the times
	began time.Time         // GUARDED_BY mu: when made was empty
}

// maxMade bounds how many JWTs are kept.
const maxMade = 8192

// NewSigner returns a signer with this key. life is at least 1 s and at most [MaxLife].
func NewSigner(key ed25519.PrivateKey, issuer string, life time.Duration) *Signer {
	header, _ := json.Marshal(map[string]string{"alg": "EdDSA", "kid": kidOf(key), "typ": Type})
	return &Signer{issuer: issuer, life: life, key: key, header: base64.RawURLEncoding.EncodeToString(header) + ".", now: time.Now}
}

func kidOf(key ed25519.PrivateKey) string {
	return events.Thumbprint(key.Public().(ed25519.PublicKey))
}

// Token returns a JWT for this request of this principal.
func (s *Signer) Token(backend string, asked *target.Target, p *verifier.Principal) string {
	now := s.now()
	var buffer [512]byte
	content := appendContent(buffer[:0], backend, asked, p)
	if token := s.kept(content, now); token != "" {
		return token
	}
	c := newClaims(s.issuer, backend, asked, p)
	c.lasting(now, p.Expires, s.life)
	token := s.sign(c.encode())
	s.keep(string(content), token)
	return token
}

// appendContent writes all that a JWT tells but the times, and the credential's end, so that a JWT made for a longer-lived
// credential is never given to a shorter-lived one. None of the texts holds the byte that parts them: [Headers] has refused those that do.
func appendContent(b []byte, backend string, asked *target.Target, p *verifier.Principal) []byte {
	for _, text := range [...]string{
		backend, asked.Method, asked.Host, asked.Path, p.Subject, string(p.Mode), string(p.Method), p.SessionID, p.KeyID, p.Plan, p.Actor,
	} {
		b = append(append(b, text...), 0)
	}
	for _, role := range p.Roles {
		b = append(append(b, role...), 0)
	}
	if p.Expires.IsZero() {
		return b
	}
	return strconv.AppendInt(append(b, 1), p.Expires.Unix(), 10)
}

// kept forgets everything when half a life is over since it kept the first, or when it is full. A wall clock that was set back
// makes it forget too.
func (s *Signer) kept(content []byte, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if age := now.Sub(s.began); s.made == nil || len(s.made) >= maxMade || age < 0 || age >= s.life/2 || now.Unix() < s.began.Unix() {
		s.made, s.began = make(map[string]string), now
	}
	return s.made[string(content)]
}

func (s *Signer) keep(content, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.made) < maxMade {
		s.made[content] = token
	}
}

func (s *Signer) sign(payload []byte) string {
	text := s.header + base64.RawURLEncoding.EncodeToString(payload)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(s.key, []byte(text)))
}

// JWKS returns the JWK set (RFC 7517) that backends check by.
func (s *Signer) JWKS() []byte {
	public := s.key.Public().(ed25519.PublicKey)
	set, _ := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kidOf(s.key), "x": base64.RawURLEncoding.EncodeToString(public),
	}}})
	return set
}

// NewKey makes a key.
func NewKey() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // crypto/rand doesn't fail
	}
	return key
}

// LoadKey reads a key in PKCS #8, as openssl genpkey -algorithm ed25519 writes it.
func LoadKey(path string) (ed25519.PrivateKey, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no PEM block PRIVATE KEY")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("no key in PKCS #8")
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("not an Ed25519 key")
	}
	return key, nil
}
