package httpapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
	"github.com/tocsin-auth/tocsin/authsvc/internal/httpapi/strictjson"
)

// maxBody is the largest request body.
const maxBody = 64 << 10

// strict is huma middleware that refuses what the schema's validation doesn't see: unknown and repeated query
// parameters, bodies of another type, too large, with names twice, with null (unless the body's form is foreign) or with
// trailing data, and bodies where none is wanted. It reads the whole body, so that the handler runs without a read deadline,
// and it drops Accept: there is one form of answers to choose from.
func (s *Server) strict(foreign bool) func(huma.Context, func(huma.Context)) {
	check := strictjson.Check
	if foreign {
		check = strictjson.CheckForeign
	}
	return func(hc huma.Context, next func(huma.Context)) {
		r, w := humachi.Unwrap(hc)
		op := hc.Operation()
		problem := checkQuery(r.URL.RawQuery, op.Parameters)
		if problem == nil {
			problem = takeBody(w, r, op.RequestBody != nil, check)
		}
		if problem != nil {
			problem.write(w)
			return
		}
		r.Header.Del("Accept")
		next(hc)
	}
}

func checkQuery(raw string, known []*huma.Param) *Problem {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return invalidRequest("the query is malformed")
	}
	for name, values := range query {
		switch {
		case !takesQuery(known, name):
			return invalidRequest("the query holds an unknown parameter", FieldError{Field: strictjson.Shown(name), Message: "is unknown"})
		case len(values) > 1:
			return invalidRequest("the query repeats a parameter", FieldError{Field: strictjson.Shown(name), Message: "is given twice"})
		case strings.ContainsRune(values[0], 0):
			return invalidRequest("the query holds NUL", FieldError{Field: strictjson.Shown(name), Message: "must not hold NUL"})
		}
	}
	return nil
}

func takesQuery(known []*huma.Param, name string) bool {
	for _, p := range known {
		if p.In == "query" && p.Name == name {
			return true
		}
	}
	return false
}

// takeBody reads and checks the body, and puts what it read in its place.
func takeBody(w http.ResponseWriter, r *http.Request, wanted bool, check func([]byte) error) *Problem {
	body, problem := readBody(w, r)
	if problem != nil {
		return problem
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if len(body) == 0 {
		return nil
	}
	if kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" || !isUTF8(params) {
		return newProblem(http.StatusUnsupportedMediaType, codeUnsupportedMediaType, "the body must be application/json")
	}
	if !wanted && !bytes.Equal(bytes.TrimSpace(body), []byte("{}")) {
		return invalidRequest("the call takes no body")
	}
	var refusal *strictjson.Error
	if err := check(body); errors.As(err, &refusal) {
		return invalidRequest("the body is not the JSON that the call wants", FieldError{Field: refusal.Field, Message: refusal.Rule})
	}
	return nil
}

func isUTF8(params map[string]string) bool {
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}

// readBody reads at most maxBody bytes and then lifts the connection's read deadline: when it fired during a long
// handler, net/http would take the client for gone and cancel the request.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *Problem) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	var timeout net.Error
	switch {
	case errors.As(err, &tooLarge):
		return nil, newProblem(http.StatusRequestEntityTooLarge, codeTooLarge, "the body is larger than 64 KiB")
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, newProblem(http.StatusRequestTimeout, codeTimeout, "the request took too long to arrive")
	case err != nil:
		return nil, invalidRequest("the body could not be read")
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, newProblem(http.StatusServiceUnavailable, auth.CodeUnavailable, "the connection failed")
	}
	return body, nil
}
