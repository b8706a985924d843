package faults

import (
	"database/sql"
	"net/url"
	"path/filepath"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // driver pgx
	_ "modernc.org/sqlite"             // driver sqlite
)

// killEveryAuthAfterChange kills both authsvc within moments of a change's return: before its event has a number, before
// it is published, before that is noted, as chance has it. What was left behind is counted in the database.
func (j *Injector) killEveryAuthAfterChange() Fault {
	late := j.between(0, 3*time.Millisecond)
	j.onChange()
	began := j.Recorder.Now()
	if j.rng.IntN(2) == 0 {
		time.Sleep(late)
	}
	for _, a := range j.Auth {
		a.Kill()
	}
	left := j.waiting()
	for _, a := range j.Auth {
		j.restart(a)
	}
	return Fault{Span: Span{Begin: began}, Waiting: left}
}

// waiting counts the events that a dispatcher has still to do something about.
func (j *Injector) waiting() (w Waiting) {
	j.t.Helper()
	db, err := sql.Open(j.databaseFile())
	if err != nil {
		j.t.Fatal(err)
	}
	defer db.Close()
	err = db.QueryRowContext(j.t.Context(), `SELECT count(*) FILTER (WHERE seq IS NULL), count(*) FILTER (WHERE seq IS NOT NULL AND published_at IS NULL) FROM events`).
		Scan(&w.Unnumbered, &w.Unpublished)
	if err != nil {
		j.t.Fatal(err)
	}
	return w
}

// databaseFile returns driver and name of the database, for reading only. SQLite's is read while nobody has it open.
func (s *System) databaseFile() (driver, name string) {
	if s.postgres != nil {
		return "pgx", s.databaseURL()
	}
	file := url.URL{Scheme: "file", Opaque: filepath.Join(s.Auth[0].DataDir, "tocsin.db"), RawQuery: "mode=ro"}
	return "sqlite", file.String()
}
