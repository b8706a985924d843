package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tocsin-auth/tocsin/resourcesvc/internal/seal"
)

func newKeys(t *testing.T) seal.Keys {
	t.Helper()
	return parseKeys(t, seal.NewKey())
}

func parseKeys(t *testing.T, text string) seal.Keys {
	t.Helper()
	keys, err := seal.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func (s service) exec(query string, args ...any) {
	s.t.Helper()
	if _, err := s.store.db.ExecContext(s.t.Context(), query, args...); err != nil {
		s.t.Fatal(err)
	}
}

func (s service) count(query string) (n int) {
	s.t.Helper()
	if err := s.store.db.QueryRowContext(s.t.Context(), query).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

func TestAGrantIsNowhereInTheDatabase(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		s.granted()
		if n := s.count(`SELECT count(*) FROM ai_jobs WHERE job_grant IS NULL AND sealed_grant IS NOT NULL AND sealed_grant NOT LIKE '%grant of alice%'`); n != 1 {
			t.Errorf("%d sealed grants, want 1", n)
		}
		if c := s.claimed(ofAlice); c.Grant != "grant of alice" {
			t.Errorf("the worker gets %q", c.Grant)
		}
	})
}

func TestAGrantIsInNoFileOfTheDatabase(t *testing.T) {
	dir := t.TempDir()
	s := newService(t, "sqlite:"+dir+"/f.db", fakeGuard{})
	s.granted()
	files, err := filepath.Glob(dir + "/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil || bytes.Contains(content, []byte("grant of alice")) {
			t.Errorf("%s holds it (%v)", filepath.Base(file), err)
		}
	}
}

func TestAGrantThatWasPutIntoAnotherRowOpensNowhere(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		s.granted()
		for _, of := range []struct{ user, job string }{{bob, "j"}, {alice, "k"}} {
			s.exec(`INSERT INTO ai_jobs (user_id, job_id, status, payload, created_at, sealed_grant, grant_key)
				SELECT $1, $2, status, payload, created_at, sealed_grant, grant_key FROM ai_jobs WHERE user_id = $3 AND job_id = 'j'`, of.user, of.job, alice)
			s.want(409, "job_over", s.do(bob, "POST", "/v1/ai/tenants/"+of.user+"/jobs/"+of.job+"/claim", ""))
			got := decode[job](t, s.do(of.user, "GET", "/v1/ai/jobs/"+of.job, "").body)
			if got.Status != statusFailed || got.Reason != "its grant is damaged" {
				t.Errorf("%+v", got)
			}
		}
		if c := s.claimed(ofAlice); c.Grant != "grant of alice" {
			t.Errorf("the right one: %q", c.Grant)
		}
	})
}

func TestAWrongKeyIsNoJobsFault(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		right, wrong := s.store.keys, newKeys(t)
		s.granted()
		if err := s.store.useKeys(t.Context(), wrong); !errors.Is(err, errGrantsKey) {
			t.Errorf("another key is taken: %v", err)
		}
		for _, keys := range []seal.Keys{wrong, nil} {
			s.store.keys = keys // as of a replica that has run since before the key was replaced
			for range 5 {
				s.want(503, "unavailable", s.do(bob, "POST", ofAlice+"/claim", ""))
			}
		}
		if n := s.count(`SELECT tries + claims FROM ai_jobs`); n != 0 || s.status(alice) != statusQueued {
			t.Errorf("%d tries and claims, %s", n, s.status(alice))
		}
		if c := decode[claim](t, s.want(200, "", s.do(alice, "POST", "/v1/ai/claims", "")).body); c.Grant != "" {
			t.Errorf("alice's own worker gets %+v", c)
		}
		s.want(204, "", s.do(alice, "POST", "/v1/ai/jobs/j/end", `{"claim":1,"outcome":"returned","reason":"stop"}`))
		s.pass(maxPause)
		s.store.keys = right
		if c := s.claimed(ofAlice); c.Grant != "grant of alice" {
			t.Errorf("%+v", c)
		}
	})
}

func TestAKeyIsReplacedWithoutLosingAJob(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		first, second := seal.NewKey(), seal.NewKey()
		use := func(text string) error { return s.store.useKeys(t.Context(), parseKeys(t, text)) }
		s.exec(`DELETE FROM grants_key`)
		if err := errors.Join(use(first), use(first+" "+second)); err != nil { // every replica learns of the second
			t.Fatal(err)
		}
		s.granted()
		if err := use(second + " " + first); err != nil { // and then seals with it
			t.Fatal(err)
		}
		if err := use(second); !errors.Is(err, errGrantsKey) || !strings.Contains(err.Error(), "1 job") {
			t.Errorf("the first was left out too early: %v", err)
		}
		if c := s.claimed(ofAlice); c.Grant != "grant of alice" {
			t.Errorf("%+v", c)
		}
		s.want(200, "", s.do(alice, "PUT", "/v1/ai/jobs/j/result", `{"result":1}`))
		p, _ := s.spender()
		if err := s.spend(p); err != nil {
			t.Fatal(err)
		}
		if err := use(second); err != nil {
			t.Errorf("the first is needed no more: %v", err)
		}
		if err := use(first); !errors.Is(err, errGrantsKey) {
			t.Errorf("the first came back: %v", err)
		}
	})
}

func TestReplicasThatEachMadeAKeyDontRunSideBySide(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		s.exec(`DELETE FROM grants_key`)
		errs := make([]error, 4)
		var wg sync.WaitGroup
		for i := range errs {
			replica, keys := &store{db: s.store.db, now: s.store.now}, newKeys(t)
			wg.Go(func() { errs[i] = replica.useKeys(t.Context(), keys) })
		}
		wg.Wait()
		refused := 0
		for _, err := range errs {
			if errors.Is(err, errGrantsKey) {
				refused++
			}
		}
		if refused != len(errs)-1 {
			t.Errorf("%v", errs)
		}
	})
}

func TestWhatAnEarlierReleaseLeftIsSealed(t *testing.T) {
	eachEngine(t, func(t *testing.T, s service) {
		s.granted()
		s.exec(`UPDATE ai_jobs SET job_grant = 'grant of alice', sealed_grant = NULL, grant_key = NULL`)
		if err := s.store.sealGrants(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := s.count(`SELECT count(*) FROM ai_jobs WHERE job_grant IS NOT NULL OR sealed_grant LIKE '%alice%'`); n > 0 {
			t.Error("it is readable still")
		}
		if c := s.claimed(ofAlice); c.Grant != "grant of alice" {
			t.Errorf("%+v", c)
		}
	})
}

func TestALostKeyOfGrantsStopsTheStartInOneLine(t *testing.T) {
	t.Setenv("TOCSIN_API_KEY", "k")
	dir := t.TempDir()
	cfg := config{DataDir: dir, DatabaseURL: "sqlite:" + dir + "/resource.db"}
	db, err := openStore(t.Context(), cfg.DatabaseURL)
	if err == nil {
		err = errors.Join(cfg.sealGrants(t.Context(), db), cfg.sealGrants(t.Context(), db), db.close())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, spoil := range []func() error{
		func() error { return os.WriteFile(dir+"/grants.key", []byte(seal.NewKey()), 0o600) },
		func() error { return os.Remove(dir + "/grants.key") },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		var errs strings.Builder
		code := run(t.Context(), []string{"serve", "--nats-url=nats://127.0.0.1:1", "--log-level=error", "--data-dir=" + dir, "--http-addr=127.0.0.1:0"}, io.Discard, &errs)
		if code != 2 || !strings.Contains(errs.String(), "TOCSIN_GRANTS_KEY") || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("exit %d: %s", code, errs.String())
		}
	}
}
