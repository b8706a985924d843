package store

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/pgtest"
)

// Every statement that runs often, or while others wait, finds its rows by an index.
func TestStatementsUseTheirIndexes(t *testing.T) {
	for name, url := range map[string]func() string{
		"sqlite":   func() string { return "sqlite:" + filepath.Join(t.TempDir(), "tocsin.db") },
		"postgres": func() string { return pgtest.URL(t) },
	} {
		t.Run(name, func(t *testing.T) {
			db := opened(t, url())
			if err := db.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			keysOf, keysOfArgs := KeyFilter{UserID: "u"}.query("", 1, 10)
			for _, s := range []struct {
				query string
				args  []any
				index string // of PostgreSQL; SQLite's own for primary keys has another name
			}{
				{pruneSessions, []any{1, 10}, "sessions_dead"},
				{pruneAPIKeys, []any{1, 10}, "api_keys_ends"},
				{pruneSpentGrants, []any{1, 10}, "spent_grants_end"},
				{sessionsOf, []any{"u"}, "sessions_living"},
				{countSessionsOf, []any{"u", 200}, "sessions_living"},
				{newestIssue, nil, "sessions_used"},
				{lockAdmins, nil, "users_admins"},
				{countAdmins, nil, "users_admins"},
				{keysOf, keysOfArgs, "api_keys_user"},
				{auditPage, []any{"0190", 10}, "audit_pkey"},
				{pruneAudit, []any{"0190", 10}, "audit_pkey"},
				{auditBefore, []any{"0190"}, "audit_pkey"},
				{fmt.Sprintf(unnumberedWithFacts, "CAST($1 AS BIGINT)"), []any{1, 10}, "events_unnumbered"},
				{revocationsPage, []any{"0190", "token.revoked", 1, 10}, "events_pkey"},
			} {
				plan := planOf(t, db, s.query, s.args)
				if db.Engine() == SQLite {
					if table, primary := strings.CutSuffix(s.index, "_pkey"); primary {
						s.index = "sqlite_autoindex_" + table
					}
				}
				if !strings.Contains(plan, s.index) || strings.Contains(plan, "SCAN users\n") || strings.Contains(plan, "SCAN sessions\n") {
					t.Errorf("%s doesn't use %s:\n%s", s.query, s.index, plan)
				}
			}
		})
	}
}

// The one plan of questions, which is made when the tables may be empty, reads no table as a whole.
func TestQuestionsFindEverythingByIndexes(t *testing.T) {
	for name, url := range map[string]func() string{
		"sqlite":   func() string { return "sqlite:" + filepath.Join(t.TempDir(), "tocsin.db") },
		"postgres": func() string { return pgtest.URL(t) },
	} {
		t.Run(name, func(t *testing.T) {
			db := opened(t, url())
			if err := db.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			hash := events.HashOf(nil)
			token := Question{Kid: "k", Credentials: []Credential{{JTI: "j", SessionID: "s", Subject: "u"}}}
			ofKey := Question{Credentials: []Credential{{KeyID: "k"}}}
			key := Question{Credentials: []Credential{{KeyHash: &hash}}}
			for _, questions := range [][]Question{{token, ofKey, key}, {token, token}, {token, ofKey}, {key}} {
				readsNoWholeTable(t, db, questions)
			}
		})
	}
}

func readsNoWholeTable(t *testing.T, db *DB, questions []Question) {
	t.Helper()
	query, args := newAnswer(questions).statement(db)
	plan, explain, columns := "", "EXPLAIN QUERY PLAN ", 4
	if db.Engine() == Postgres {
		explain, columns = "EXPLAIN ", 1
	}
	err := db.eachRow(t.Context(), db.asker, func(s scanner) error {
		row := make([]any, columns)
		for i := range row {
			row[i] = new(sql.RawBytes)
		}
		err := s.Scan(row...)
		plan += fmt.Sprintf("%s\n", *row[columns-1].(*sql.RawBytes))
		return err
	}, explain+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	for _, whole := range []string{"Seq Scan", "Hash", "Merge Join", "SCAN users", "SCAN u\n", "SCAN sessions", "SCAN s\n", "SCAN k\n", "SCAN h\n", "SCAN events", "SCAN signing_keys", "AUTOMATIC"} {
		if strings.Contains(plan, whole) {
			t.Errorf("%s:\n%s", whole, plan)
		}
	}
}

// planOf returns a statement's plan, a line for each step. On PostgreSQL reading a whole table is switched off: it would be
// preferred for tables as small as these, and is still chosen where no index fits.
func planOf(t *testing.T, db *DB, query string, args []any) (plan string) {
	t.Helper()
	explain, columns := "EXPLAIN QUERY PLAN ", 4
	if db.Engine() == Postgres {
		explain, columns = "EXPLAIN ", 1
	}
	err := db.Update(t.Context(), func(tx *Tx) error {
		if db.Engine() == Postgres {
			if _, err := tx.exec(t.Context(), "SET LOCAL enable_seqscan = off; "); err != nil {
				return err
			}
		}
		lines, err := queryAll(t.Context(), tx, func(s scanner) (string, error) {
			row := make([]any, columns)
			for i := range row {
				row[i] = new(sql.RawBytes)
			}
			err := s.Scan(row...)
			return fmt.Sprintf("%s\n", *row[columns-1].(*sql.RawBytes)), err
		}, explain+query, args...)
		plan = strings.Join(lines, "")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}
