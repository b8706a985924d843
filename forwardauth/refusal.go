package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/identity"
)

// refusal is an answer that the client is meant to get. As JSON it travels through nginx and back, see [refusal.encode].
type refusal struct {
	Status     int             `json:"status"`
	Code       string          `json:"code"`
	Challenges []string        `json:"challenges,omitempty"` // WWW-Authenticate lines
	RetryAfter string          `json:"retry_after,omitempty"`
	RateLimits []string        `json:"rate_limits,omitempty"` // those of rateLimitNames, or none
	Body       json.RawMessage `json:"body"`                  // problem+json

	why string // for the log
}

// recorder keeps what the verifier answers.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func (r *recorder) refusal(code string) *refusal {
	refused := &refusal{
		Status: r.status, Code: code, Challenges: r.header["Www-Authenticate"], RetryAfter: r.header.Get("Retry-After"), Body: r.body.Bytes(),
	}
	for _, h := range rateLimits(r.header) {
		refused.RateLimits = append(refused.RateLimits, h.Value)
	}
	return refused
}

// rateLimitNames are the headers by which a client is told of its quota. They are for answers, not for the backend.
var rateLimitNames = []string{"Ratelimit", "Ratelimit-Policy"}

// rateLimits picks them out: both, or none.
func rateLimits(h http.Header) (all []identity.Header) {
	for _, name := range rateLimitNames {
		if value := h.Get(name); value != "" {
			all = append(all, identity.Header{Name: name, Value: value})
		}
	}
	return all
}

// newRefusal is one of this program's own, about the request and not the credential; so it has no challenge.
func newRefusal(status int, code, detail string) *refusal {
	body, _ := json.Marshal(struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}{http.StatusText(status), status, code, detail})
	return &refusal{Status: status, Code: code, Body: append(body, '\n'), why: detail}
}

// badRequest tells the client what is wrong with the form of its request; the errors repeat nothing of it.
func badRequest(err error) *refusal {
	return newRefusal(http.StatusBadRequest, "invalid_request", err.Error())
}

func unmatched(notFound bool) *refusal {
	if notFound {
		return newRefusal(http.StatusNotFound, "not_found", "there is no such path")
	}
	return newRefusal(http.StatusForbidden, "forbidden", "no route allows this request")
}

// write answers with the refusal itself.
func (r *refusal) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if len(r.Challenges) > 0 {
		h["Www-Authenticate"] = r.Challenges
	}
	if r.RetryAfter != "" {
		h.Set("Retry-After", r.RetryAfter)
	}
	for i, value := range r.RateLimits {
		h.Set(rateLimitNames[i], value)
	}
	w.WriteHeader(r.Status)
	_, _ = w.Write(r.Body) // nobody can be told that the proxy is gone
}

// refusalHeader carries a refusal through nginx, whose auth_request passes on neither other status codes nor bodies: nginx keeps
// the header, and has it turned into the answer by a second question, to /refusal. It decides nothing.
const refusalHeader = "Tocsin-Refusal"

// maxRefusal bounds it: nginx has 4 KiB or more for all headers of an answer.
const maxRefusal = 3 << 10

func (r *refusal) encode() string {
	text, _ := json.Marshal(r)
	return base64.RawURLEncoding.EncodeToString(text)
}

var errRefusal = errors.New("no refusal")

// decodeRefusal reads what encode wrote. Whatever it is given, the result is a refusal.
func decodeRefusal(text string) (*refusal, error) {
	if len(text) > maxRefusal {
		return nil, errRefusal
	}
	content, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, errRefusal
	}
	var r refusal
	if json.Unmarshal(content, &r) != nil || !slices.Contains([]int{400, 401, 403, 404, 429, 503}, r.Status) || len(r.Challenges) > 2 || len(r.RateLimits) > len(rateLimitNames) {
		return nil, errRefusal
	}
	r.Body = append(r.Body, '\n') // which JSON in JSON loses
	return &r, nil
}
