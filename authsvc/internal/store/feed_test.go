package store_test

import (
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
)

func TestSQLiteNumbersTheFeed(t *testing.T) { storetest.RunFeed(t, store.SQLite) }

func TestPostgresNumbersTheFeed(t *testing.T) { storetest.RunFeed(t, store.Postgres) }
