package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxBody  = 64 << 10
	maxDepth = 32
	maxText  = 256 // code points
)

// decodeBody reads the request's JSON object into dst, a pointer to a struct whose fields all have json tags.
// Where encoding/json is lenient this is not: unknown names, names in another case, names that appear twice at any
// depth, bytes after the object and invalid UTF-8 are refused.
func decodeBody(w http.ResponseWriter, r *http.Request, dst any) error {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return newProblem(http.StatusUnsupportedMediaType, "unsupported_media_type", "send application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return newProblem(http.StatusRequestEntityTooLarge, "too_large", "the body is larger than 64 KiB")
	}
	if err != nil {
		return invalid("body", "could not be read")
	}
	return decodeObject(body, dst)
}

func decodeObject(body []byte, dst any) error {
	if !utf8.Valid(body) {
		return invalid("body", "is not valid UTF-8")
	}
	names, err := objectNames(body)
	if err != nil {
		return err
	}
	known := fieldNames(dst)
	for _, name := range names {
		if !slices.Contains(known, name) {
			return invalid("body", "holds an unknown field; known are "+strings.Join(known, ", "))
		}
	}
	var wrong *json.UnmarshalTypeError
	switch err := json.Unmarshal(body, dst); {
	case errors.As(err, &wrong):
		return invalid(wrong.Field, "has the wrong type")
	case err != nil:
		return asInvalid(err)
	}
	return nil
}

// asInvalid keeps the problem that a field's own UnmarshalJSON returned.
func asInvalid(err error) error {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	return invalid("body", "is not a JSON object")
}

// objectNames returns the names in the outermost object. It refuses anything but one object, and names given twice.
func objectNames(body []byte) ([]string, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	tok, err := dec.Token()
	if err != nil || tok != json.Delim('{') {
		return nil, invalid("body", "is not a JSON object")
	}
	names, err := walkObject(dec, 1)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, invalid("body", "goes on after the object")
	}
	return names, nil
}

// walkObject reads an object whose brace was read, to its end.
func walkObject(dec *json.Decoder, depth int) ([]string, error) {
	var names []string
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		name, isName := tok.(string)
		if err != nil || !isName {
			return nil, invalid("body", "is not valid JSON")
		}
		if seen[name] {
			return nil, invalid("body", "holds a field twice")
		}
		seen[name] = true
		names = append(names, name)
		if err := walkValue(dec, depth); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, invalid("body", "is not valid JSON")
	}
	return names, nil
}

func walkValue(dec *json.Decoder, depth int) error {
	tok, err := dec.Token()
	switch {
	case err != nil:
		return invalid("body", "is not valid JSON")
	case depth >= maxDepth:
		return invalid("body", "is nested too deeply")
	case tok == json.Delim('{'):
		_, err := walkObject(dec, depth+1)
		return err
	case tok == json.Delim('['):
		return walkArray(dec, depth+1)
	}
	return nil
}

func walkArray(dec *json.Decoder, depth int) error {
	for dec.More() {
		if err := walkValue(dec, depth); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return invalid("body", "is not valid JSON")
	}
	return nil
}

func fieldNames(dst any) []string {
	t := reflect.TypeOf(dst).Elem()
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("json"), ",")
	}
	return names
}

// checkQuery refuses parameters that are unknown or given twice.
func checkQuery(r *http.Request, allowed []string) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalid("query", "is malformed")
	}
	for name, values := range query {
		if !slices.Contains(allowed, name) {
			return invalid("query", "holds an unknown parameter")
		}
		if len(values) > 1 {
			return invalid(name, "is given twice")
		}
	}
	return nil
}

// checkText refuses text that is missing, too long, or holds control characters. JSON already made it valid UTF-8.
func checkText(field, s string) error {
	switch {
	case s == "":
		return invalid(field, "is required")
	case utf8.RuneCountInString(s) > maxText:
		return invalid(field, "is longer than 256 characters")
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return invalid(field, "holds control characters")
	}
	return nil
}
