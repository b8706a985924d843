package system

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // registers pgx
	_ "modernc.org/sqlite"             // registers sqlite

	"github.com/tocsin-auth/tocsin/test/machine"
)

var crowdColumns = []string{"id", "username", "password_hash", "roles", "plan", "disabled", "tv", "keys_tv", "rv", "created_at"}

// Crowd puts users with a role straight into authsvc's database and returns their ids, which ascend: to register a hundred
// thousand would take an hour. They can't log in.
func Crowd(t testing.TB, url, role string, n int) (ids []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*machine.Patience)
	defer cancel()
	rows := crowd(t, role, n)
	var err error
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		err = fillSQLite(ctx, path, rows)
	} else {
		err = fillPostgres(ctx, url, rows)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		ids = append(ids, row[0].(string))
	}
	return ids
}

// nobodysHash has the length of a real one, and is nobody's.
var nobodysHash = "$argon2id$v=19$m=19456,t=2,p=1$" + strings.Repeat("A", 22) + "$" + strings.Repeat("B", 43)

func crowd(t testing.TB, role string, n int) [][]any {
	t.Helper()
	roles, err := json.Marshal([]string{"user", role})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMicro()
	rows := make([][]any, 0, n)
	for i := range n {
		id := uuid.Must(uuid.NewV7())
		rows = append(rows, []any{id.String(), fmt.Sprintf("%s-%d", role, i), nobodysHash, string(roles), "free", false, now, int64(0), now, now})
	}
	return rows
}

func fillSQLite(ctx context.Context, path string, rows [][]any) error {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(120000)&_txlock=immediate")
	if err != nil {
		return err
	}
	defer db.Close()
	const atOnce = 5000 // authsvc writes in between
	for len(rows) > 0 {
		n := min(atOnce, len(rows))
		if err := insertCrowd(ctx, db, rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func insertCrowd(ctx context.Context, db *sql.DB, rows [][]any) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	one, err := tx.PrepareContext(ctx, `INSERT INTO users (`+strings.Join(crowdColumns, ", ")+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return err
	}
	defer one.Close()
	for _, row := range rows {
		if _, err := one.ExecContext(ctx, row...); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func fillPostgres(ctx context.Context, url string, rows [][]any) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err = conn.CopyFrom(ctx, pgx.Identifier{"users"}, crowdColumns, pgx.CopyFromRows(rows)); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "VACUUM ANALYZE users") // what autovacuum would have done by then
	return err
}
