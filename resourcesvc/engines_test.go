package main

import (
	"testing"

	"github.com/tocsin-auth/tocsin/test/pgtest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main{M: m}) }

// eachEngine runs one exercise over a fresh database of each kind.
func eachEngine(t *testing.T, exercise func(t *testing.T, s service)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		exercise(t, newService(t, "sqlite:"+t.TempDir()+"/resource.db", fakeGuard{}))
	})
	t.Run("postgres", func(t *testing.T) {
		exercise(t, newService(t, pgtest.URL(t), fakeGuard{}))
	})
}
