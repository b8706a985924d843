package httpapi

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
	"github.com/tocsin-auth/tocsin/authsvc/internal/httpapi/strictjson"
)

// Problem is an RFC 9457 answer. Code is stable; programs should look at nothing else.
type Problem struct {
	Type   string       `json:"type" doc:"urn:tocsin:error: and the code"`
	Title  string       `json:"title" doc:"The status in words"`
	Status int          `json:"status" doc:"The HTTP status"`
	Detail string       `json:"detail,omitempty" doc:"What is wrong, for people"`
	Code   string       `json:"code" doc:"What is wrong, for programs"`
	Errors []FieldError `json:"errors,omitempty" doc:"The inputs that are wrong; their values are never repeated"`

	header http.Header
}

// FieldError is one wrong input.
type FieldError struct {
	Field   string `json:"field" doc:"The input's path, such as roles[0]; empty for the whole body"`
	Message string `json:"message"`
}

const problemType = "application/problem+json"

func newProblem(status int, code auth.Code, detail string, errs ...FieldError) *Problem {
	return &Problem{Type: "urn:tocsin:error:" + string(code), Title: http.StatusText(status), Status: status, Detail: detail,
		Code: string(code), Errors: errs, header: http.Header{}}
}

func invalidRequest(detail string, errs ...FieldError) *Problem {
	return newProblem(http.StatusBadRequest, auth.CodeInvalidRequest, detail, errs...)
}

func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// GetStatus, GetHeaders and ContentType let huma send a Problem as it is.
func (p *Problem) GetStatus() int            { return p.Status }
func (p *Problem) GetHeaders() http.Header   { return p.header }
func (p *Problem) ContentType(string) string { return problemType }

// write sends a problem outside of huma.
func (p *Problem) write(w http.ResponseWriter) {
	header := w.Header()
	for name, values := range p.header {
		header[name] = values
	}
	header.Set("Content-Type", problemType)
	noteCode(w, p.Code)
	w.WriteHeader(p.Status)
	body, err := json.Marshal(p)
	if err != nil {
		return // a Problem is strings and numbers: it can't fail
	}
	w.Write(append(body, '\n'))
}

// These are variables of huma for the whole process, and this package is its only user: its 422 is our 400, its errors
// repeat values and mustn't, it would match names of another case, and our lists are never null.
func init() {
	huma.NewError = schemaProblem
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
}

// schemaProblem turns a refusal of huma's into ours, dropping the value that it holds.
func schemaProblem(status int, detail string, errs ...error) huma.StatusError {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		fields := make([]FieldError, 0, len(errs))
		for _, err := range errs {
			fields = append(fields, fieldError(err))
		}
		return invalidRequest("the request doesn't have the form that the call wants", fields...)
	case http.StatusRequestTimeout:
		return newProblem(status, codeTimeout, "the request took too long to arrive")
	}
	return newProblem(http.StatusInternalServerError, codeInternal, "something went wrong on our side")
}

func fieldError(err error) FieldError {
	d, ok := err.(huma.ErrorDetailer)
	if !ok {
		return FieldError{Message: "is not valid"}
	}
	detail := d.ErrorDetail()
	if name, ok := strings.CutPrefix(detail.Message, "expected required property "); ok {
		name, _, _ = strings.Cut(name, " ")
		return FieldError{Field: fieldName(detail.Location + "." + name), Message: "is required"}
	}
	return FieldError{Field: fieldName(detail.Location), Message: harmless(detail.Message)}
}

// harmless passes on messages that are made of the schema alone; others, as of package time, repeat the value.
func harmless(message string) string {
	for _, start := range []string{"expected ", "unexpected property", "required ", "invalid "} {
		if strings.HasPrefix(message, start) {
			return message
		}
	}
	return "is not valid"
}

// fieldName drops where an input is from its path: names are unique over path, query and body of a call.
func fieldName(location string) string {
	place, name, _ := strings.Cut(location, ".")
	if strings.HasPrefix(place, "body[") {
		return strictjson.Shown(location)
	}
	return strictjson.Shown(name)
}
