package faults

import (
	"time"

	"github.com/jackc/pgx/v5"
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
	ctx := j.t.Context()
	conn, err := pgx.Connect(ctx, j.databaseURL())
	if err != nil {
		j.t.Fatal(err)
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, `SELECT count(*) FILTER (WHERE seq IS NULL), count(*) FILTER (WHERE seq IS NOT NULL AND published_at IS NULL) FROM events`).
		Scan(&w.Unnumbered, &w.Unpublished)
	if err != nil {
		j.t.Fatal(err)
	}
	return w
}
