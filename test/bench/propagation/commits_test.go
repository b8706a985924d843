package propagation

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// committed finds the commits of revocations by their rows of audit, which are written with the event and never again. PostgreSQL puts
// its time into the commit's record before that is flushed to the disk, so the commit has taken effect a little later.
const committed = `SELECT detail::json->'events'->>0, pg_xact_commit_timestamp(xmin) FROM audit WHERE detail::json->'events'->>0 = ANY($1)`

// findCommits learns when the revocations were committed, where the database tells: PostgreSQL with track_commit_timestamp.
func (c *scene) findCommits(t *testing.T, wanted map[string]*ending) {
	if strings.HasPrefix(c.DatabaseURL, "sqlite:") {
		return
	}
	db, err := pgx.Connect(t.Context(), c.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	var events []string
	for id := range wanted {
		events = append(events, id)
	}
	rows, err := db.Query(t.Context(), committed, events)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	found := 0
	for ; rows.Next(); found++ {
		var event string
		var at time.Time
		if err := rows.Scan(&event, &at); err != nil {
			t.Fatal(err)
		}
		wanted[event].commit = at
	}
	if rows.Err() != nil || found != len(wanted) {
		t.Fatalf("%d commits of %d: %v", found, len(wanted), rows.Err())
	}
}

// addCommit counts from the commit, if the database told it.
func (e *endings) addCommit(t *testing.T, one *ending) {
	if one.commit.IsZero() {
		return
	}
	if one.commit.Before(one.change) || one.commit.After(one.answered) {
		t.Errorf("a commit at %v, of a row of %v, was answered at %v", one.commit, one.change, one.answered)
	}
	e.fromCommit.Add(one.accepted.Sub(one.commit))
	e.refusedFromCommit.Add(one.refused.Sub(one.commit))
	e.beforeCommit.Add(one.commit.Sub(one.change))
	e.afterCommit.Add(one.answered.Sub(one.commit))
}
