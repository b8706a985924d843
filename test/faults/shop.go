package faults

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	_ "modernc.org/sqlite"
)

const (
	// carPause is the time between two cars: so few that even those of a long freeze aren't too many for a stream.
	carPause = 125 * time.Millisecond
	// jobTime is the mean life of a job.
	jobTime = 3 * time.Second
)

// shop puts into a resource service's database what its long answers tell. It doesn't ask the service: so there is
// something to tell whatever state that is in. Everything carries the time at which it was made. Safe for concurrent use.
type shop struct {
	db       *sql.DB
	recorder *Recorder

	mu   sync.Mutex
	jobs map[job]struct{} // that aren't done
}

type job struct{ user, id string }

// openShop returns one beside a service, whose tables have to be there.
func openShop(r *Resource, recorder *Recorder) (*shop, error) {
	// What is lost with the machine doesn't matter here; a frozen service may hold the lock for long.
	pragmas := url.Values{"_pragma": {"busy_timeout(200)", "synchronous(OFF)"}}
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: r.file, RawQuery: pragmas.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	return &shop{db: db, recorder: recorder, jobs: map[job]struct{}{}}, err
}

// run adds cars and finishes jobs until the context ends. What fails, because the database is locked, is left out.
func (s *shop) run(ctx context.Context, rng *rand.Rand) {
	defer s.db.Close()
	for pause(ctx, carPause) {
		s.addCar(ctx)
		for _, j := range s.due(rng) {
			s.finish(ctx, j)
		}
	}
}

func (s *shop) addCar(ctx context.Context) {
	id, err := uuid.NewV7()
	if err != nil {
		return
	}
	s.db.ExecContext(ctx, `INSERT INTO cars (id, owner, make, model, price, created_at) VALUES ($1, 'shop', 'made', $2, 1, $3)`,
		id.String(), stamp(s.recorder.Now()), time.Now().UnixMicro())
}

// due draws the jobs that are to be finished now.
func (s *shop) due(rng *rand.Rand) (due []job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for j := range s.jobs {
		if rng.IntN(int(jobTime/carPause)) == 0 {
			due = append(due, j)
		}
	}
	return due
}

func (s *shop) finish(ctx context.Context, j job) {
	_, err := s.db.ExecContext(ctx, `UPDATE ai_jobs SET status = 'done', result = $1 WHERE user_id = $2 AND job_id = $3`,
		strconv.Quote(stamp(s.recorder.Now())), j.user, j.id)
	if err == nil {
		s.forget(j)
	}
}

// addJob gives a user a job that will be done some time.
func (s *shop) addJob(ctx context.Context, j job) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO ai_jobs (user_id, job_id, status, payload, created_at) VALUES ($1, $2, 'queued', '1', $3)`,
		j.user, j.id, time.Now().UnixMicro())
	if err == nil {
		s.mu.Lock()
		s.jobs[j] = struct{}{}
		s.mu.Unlock()
	}
	return err
}

func (s *shop) forget(j job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.jobs, j)
}

// stamp is a time as cars and jobs carry it.
func stamp(made time.Duration) string { return fmt.Sprintf("at %d", made) }

// madeAt reads a stamp, false where there is none.
func madeAt(text string) (time.Duration, bool) {
	number, ok := strings.CutPrefix(text, "at ")
	if !ok {
		return 0, false
	}
	made, err := strconv.ParseInt(number, 10, 64)
	return time.Duration(made), err == nil
}
