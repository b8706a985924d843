package httpapi

import (
	"errors"
	"strings"
	"testing"
)

func TestAuthorizationHeader(t *testing.T) {
	for _, test := range []struct {
		values []string
		want   credential
		err    error
	}{
		{nil, credential{}, nil},
		{[]string{"Bearer abc"}, credential{schemeBearer, "abc"}, nil},
		{[]string{"bEARER   abc "}, credential{schemeBearer, "abc"}, nil},
		{[]string{"Api-Key abc"}, credential{schemeAPIKey, "abc"}, nil},
		{[]string{"Basic YTpi"}, credential{schemeBasic, "YTpi"}, nil},
		{[]string{"Digest username=x, realm=y"}, credential{scheme: schemeUnknown}, nil},
		{[]string{"Bearer\tabc"}, credential{scheme: schemeUnknown}, nil},
		{[]string{"abc"}, credential{scheme: schemeUnknown}, nil},
		{[]string{""}, credential{}, errEmptyHeader},
		{[]string{"  "}, credential{}, errEmptyHeader},
		{[]string{"Bearer"}, credential{}, errEmptyHeader},
		{[]string{"Bearer  "}, credential{}, errEmptyHeader},
		{[]string{"Bearer a b"}, credential{}, errMalformedHeader},
		{[]string{"Bearer a, Api-Key b"}, credential{}, errMalformedHeader},
		{[]string{"Bearer a,b"}, credential{}, errMalformedHeader},
		{[]string{"Bearer a", "Bearer a"}, credential{}, errRepeatedHeader},
		{[]string{"Bearer a", "Api-Key b"}, credential{}, errRepeatedHeader},
	} {
		got, err := parseAuthorization(test.values)
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%q: %v, %v; want %v, %v", test.values, got, err, test.want, test.err)
		}
	}
}

func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{"Bearer x", "api-key y", "Basic eDp5", "", "Bearer a,b", "bearer\x00 x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got, err := parseAuthorization([]string{header})
		switch {
		case err != nil && got != credential{}:
			t.Fatalf("%q: both a credential and %v", header, err)
		case err == nil && got.scheme == schemeNone:
			t.Fatalf("%q: a given header was taken for none", header)
		case got.scheme > schemeUnknown && (got.value == "" || strings.ContainsAny(got.value, " \t,") || !strings.Contains(header, got.value)):
			t.Fatalf("%q: value %q", header, got.value)
		}
	})
}
