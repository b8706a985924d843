package store_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/test/pgtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(pgtest.Main{M: m})
}

func TestSQLitePassesTheSuite(t *testing.T) { storetest.Run(t, store.SQLite) }

func TestPostgresPassesTheSuite(t *testing.T) { storetest.Run(t, store.Postgres) }
