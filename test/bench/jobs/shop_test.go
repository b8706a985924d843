package jobs

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/test/bench/figure"
	"github.com/tocsin-auth/tocsin/test/bench/load"
	"github.com/tocsin-auth/tocsin/test/pgtest"
	"github.com/tocsin-auth/tocsin/test/system"
)

// shop is a service with workers, and users who queue jobs.
type shop struct {
	auth     *system.Auth
	resource *system.Resource
	workers  []*system.Process
	users    []system.User
	db       *sql.DB // the service's
	queued   atomic.Int64
}

func newShop(t *testing.T, engine string, count int) *shop {
	t.Helper()
	authDB, driver, resourceDB := map[string]string{}, "sqlite", "sqlite:"+filepath.Join(t.TempDir(), "resource.db")
	if engine == "postgresql" {
		driver, resourceDB = "pgx", pgtest.URL(t)
		authDB["TOCSIN_DATABASE_URL"] = pgtest.URL(t)
	}
	s := &shop{auth: system.StartAuth(t, authDB)}
	admin := s.auth.Admin(t)
	entitled := func(name, role string) string {
		u := s.auth.Register(t, name)
		s.auth.Must(t, 200, "PUT", "/v1/admin/users/"+u.ID+"/roles", admin.Auth(), map[string]any{"roles": []string{"user", role}})
		return keyFile(t, u.LiveKey)
	}
	s.resource = system.StartResource(t, s.auth, map[string]string{"TOCSIN_DATABASE_URL": resourceDB, "TOCSIN_API_KEY_FILE": entitled("shop", "queue"), "TOCSIN_LOG_LEVEL": "WARN"})
	var err error
	if s.db, err = sql.Open(driver, strings.TrimPrefix(resourceDB, "sqlite:")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.db.Close() })
	key := entitled("worker", "worker")
	for range count {
		s.workers = append(s.workers, s.hire(t, key))
	}
	for i := range *clients {
		s.users = append(s.users, s.auth.Register(t, fmt.Sprintf("user%d", i)))
	}
	return s
}

func (s *shop) hire(t *testing.T, key string) *system.Process {
	w := system.Command(t, "resourcesvc", map[string]string{
		"TOCSIN_API_KEY_FILE": key, "TOCSIN_SERVICE_URL": s.resource.Base, "TOCSIN_ISSUER": s.auth.Issuer,
		"TOCSIN_NATS_URL": s.auth.NATSURL, "TOCSIN_NATS_CREDS": filepath.Join(s.auth.DataDir, "nats", "resourcesvc.nk"), "TOCSIN_LOG_LEVEL": "WARN",
	}, "worker")
	w.Start(t)
	return w
}

func keyFile(t *testing.T, key string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// queue has users queue so many jobs each, all users at once.
func (s *shop) queue(t *testing.T, users []system.User, each int) {
	t.Helper()
	var all sync.WaitGroup
	for _, u := range users {
		all.Go(func() {
			for range each {
				id := fmt.Sprint(s.queued.Add(1))
				got, err := s.resource.Try(t.Context(), "POST", "/v1/ai/jobs", u.Auth(), map[string]any{"job_id": id, "payload": id})
				if err != nil || got.Status != 202 {
					t.Errorf("job %s: %v, %v", id, got, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// awaitAll waits until no job is open.
func (s *shop) awaitAll(t *testing.T) {
	t.Helper()
	for t.Context().Err() == nil && !t.Failed() {
		var open, lost int
		err := s.db.QueryRowContext(t.Context(), `SELECT COALESCE(sum(CASE WHEN status IN ('queued', 'running') THEN 1 ELSE 0 END), 0),
			COALESCE(sum(CASE WHEN status IN ('failed', 'refused') THEN 1 ELSE 0 END), 0) FROM ai_jobs`).Scan(&open, &lost)
		if err != nil || lost > 0 {
			t.Fatalf("%d jobs have no result, %v", lost, err)
		}
		if open == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond) // real programs
	}
}

// lasted tells how long the jobs took that were queued since.
func (s *shop) lasted(t *testing.T, since time.Time) *figure.Distribution {
	t.Helper()
	rows, err := s.db.QueryContext(t.Context(), `SELECT ended_at - created_at FROM ai_jobs WHERE created_at >= $1`, since.UnixMicro())
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := &figure.Distribution{}
	for rows.Next() {
		var micros int64
		if err := rows.Scan(&micros); err != nil {
			t.Fatal(err)
		}
		all.Add(time.Duration(micros) * time.Microsecond)
	}
	if err := rows.Err(); err != nil || all.Len() == 0 {
		t.Fatalf("%d jobs, %v", all.Len(), err)
	}
	return all
}

// programs are those whose processor time is told.
var programs = []string{"authsvc", "service", "workers"}

// spent is their processor time.
func (s *shop) spent(t *testing.T) map[string]time.Duration {
	t.Helper()
	names := map[int]string{s.auth.PID(): programs[0], s.resource.PID(): programs[1]}
	for _, w := range s.workers {
		names[w.PID()] = programs[2]
	}
	used, err := load.CPU(func(pid int, program string) string {
		if name, ours := names[pid]; ours {
			return name
		}
		return "other " + program
	})
	if err != nil {
		t.Fatal(err)
	}
	return used
}
