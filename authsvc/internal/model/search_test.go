//go:build tocsin_defects

package model

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tocsin-auth/tocsin/pkg/verifier/verifiermodel"
)

// listener is a test that is expected to fail.
type listener struct {
	*testing.T
	failed bool
	said   []string
}

func (l *listener) note(s string)                     { l.failed, l.said = true, append(l.said, s) }
func (l *listener) Errorf(format string, args ...any) { l.note(fmt.Sprintf(format, args...)) }
func (l *listener) Error(args ...any)                 { l.note(fmt.Sprint(args...)) }
func (l *listener) Fatalf(format string, args ...any) { l.note(fmt.Sprintf(format, args...)) }
func (l *listener) Fatal(args ...any)                 { l.note(fmt.Sprint(args...)) }
func (l *listener) FailNow()                          { l.failed = true }
func (l *listener) Fail()                             { l.failed = true }
func (l *listener) Failed() bool                      { return l.failed }
func (l *listener) Logf(string, ...any)               {}
func (l *listener) Log(...any)                        {}

// Random schedules find by themselves that a defence is gone.
func TestSearchFindsEachDefect(t *testing.T) {
	if os.Getenv("TOCSIN_SEARCH") == "" {
		t.Skip("takes minutes: TOCSIN_SEARCH=1")
	}
	for name, value := range map[string]string{"rapid.shrinktime": "0s", "rapid.nofailfile": "true", "rapid.checks": "40000"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range append(anomaliesOfTheIssuer, anomaliesOfTheVerifier...) {
		t.Run(a.defence, func(t *testing.T) {
			if off := verifiermodel.Defects[a.defence]; off != nil {
				*off = true
				defer func() { *off = false }()
			}
			l := &listener{T: t}
			n := 0
			rapid.Check(l, func(t *rapid.T) { n++; anySchedule(t, a.without) })
			if !l.failed {
				t.Error("not found")
			}
			t.Logf("%d schedules: %.200s", n, strings.Join(l.said, "; "))
		})
	}
}
