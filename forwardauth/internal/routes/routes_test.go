package routes

import (
	"errors"
	"testing"

	"github.com/tocsin-auth/tocsin/forwardauth/internal/target"
)

const table = `
routes:
- {name: me, backend: b, paths: [/users/me], methods: [GET]}
- {name: user, backend: b, paths: ["/users/*"]}
- {name: admin, backend: b, paths: [/admin/**], roles: [admin], hosts: [a.example, "*.in.example"]}
- {name: root, backend: b, paths: [/]}
- {name: files, backend: b, paths: [/files/**]}
- {name: verb, backend: b, paths: ["/jobs:run"]}
- {name: head, backend: b, paths: [/head], methods: [HEAD]}
- {name: get, backend: b, paths: [/head], methods: [GET]}
`

func TestTheFirstRouteThatFitsCounts(t *testing.T) {
	tab, err := Load([]byte(table))
	if err != nil {
		t.Fatal(err)
	}
	for asked, want := range map[[3]string]string{
		{"GET", "x", "/users/me"}:            "me",
		{"GET", "x", "/users/me/"}:           "me",
		{"HEAD", "x", "/users/me"}:           "me", // GET includes HEAD
		{"HEAD", "x", "/head"}:               "head",
		{"GET", "x", "/head"}:                "get",
		{"POST", "x", "/users/me"}:           "user",
		{"GET", "x", "/users/a%40b"}:         "user",
		{"GET", "x", "/users/a/b"}:           "none",
		{"GET", "x", "/users"}:               "none",
		{"GET", "x", "/"}:                    "root",
		{"GET", "x", "/admin"}:               "none",
		{"GET", "a.example", "/admin"}:       "admin",
		{"GET", "a.example", "/admin/"}:      "admin",
		{"GET", "A.example:1", "/admin/x/y"}: "admin",
		{"GET", "b.in.example", "/admin"}:    "admin",
		{"GET", "in.example", "/admin"}:      "none",
		{"GET", "xin.example", "/admin"}:     "none",
		{"GET", "x", "/files"}:               "files",
		{"GET", "x", "/files/a/b.txt"}:       "files",
		{"GET", "x", "/jobs:run"}:            "verb",
		// A backend that decodes, or that doesn't care about case, would see what another route names.
		{"GET", "x", "/jobs%3Arun"}:      "unsure",
		{"GET", "x", "/JOBS:run"}:        "unsure",
		{"GET", "x", "/users/ME"}:        "unsure",
		{"POST", "x", "/Users/Me"}:       "unsure",
		{"GET", "a.example", "/Admin/x"}: "unsure",
		{"GET", "x", "/file%C5%BF/a"}:    "unsure", // a long s
	} {
		parsed, err := target.Parse(asked[0], asked[1], asked[2])
		if err != nil {
			t.Errorf("%v: %v", asked, err)
			continue
		}
		r, err := tab.Match(&parsed)
		got := "none"
		switch {
		case errors.Is(err, ErrUnsure):
			got = "unsure"
		case err == nil:
			got = r.Name
		}
		if got != want {
			t.Errorf("%v: %s, want %s", asked, got, want)
		}
	}
}

func TestOnePatternCoversAnother(t *testing.T) {
	for c, want := range map[[2]string]bool{
		{"/**", "/"}: true, {"/**", "/a/*/**"}: true, {"/a/**", "/a"}: true, {"/a/*", "/a/b"}: true, {"/a/*", "/a/*"}: true,
		{"/a/b", "/a/*"}: false, {"/a/*", "/a/**"}: false, {"/a/*", "/a"}: false, {"/a/*/**", "/a/**"}: false, {"/a", "/b"}: false,
	} {
		p, _ := parsePattern(c[0])
		q, _ := parsePattern(c[1])
		if got := p.covers(q); got != want {
			t.Errorf("%s covers %s: %v", c[0], c[1], got)
		}
	}
}

func TestOneHostCoversAnother(t *testing.T) {
	for c, want := range map[[2]string]bool{
		{"a.example", "a.example"}: true, {"*.example", "a.example"}: true, {"*.example", "*.a.example"}: true, {"*.example", "*.example"}: true,
		{"a.example", "*.example"}: false, {"*.a.example", "*.example"}: false, {"*.example", "example"}: false, {"a.example", "*.a.example"}: false,
	} {
		h, _ := parseHost(c[0])
		q, _ := parseHost(c[1])
		if got := h.covers(q); got != want {
			t.Errorf("%s covers %s: %v", c[0], c[1], got)
		}
	}
}
