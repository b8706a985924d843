package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/system"
)

// crew is a role that many users have.
const crew = "crew"

// crowded is a system with many holders of a role, of whom one has credentials.
type crowded struct {
	*system.Auth
	admin, member system.User
	ids           []string // of all holders but the admin, in ascending order
}

func crowd(t *testing.T, a *system.Auth, n int) *crowded {
	t.Helper()
	c := &crowded{Auth: a, admin: a.Admin(t), ids: system.Crowd(t, a.DatabaseURL, crew, n-1)}
	c.member = a.Register(t, "member")
	a.Must(t, 200, "PUT", "/v1/admin/users/"+c.member.ID+"/roles", c.admin.Auth(), map[string]any{"roles": []string{"user", crew}})
	a.Login(t, &c.member)
	c.ids = append(c.ids, c.member.ID)
	return c
}

func (c *crowded) revoke(t *testing.T, query string) system.Answer {
	t.Helper()
	return c.Must(t, 200, "POST", "/v1/admin/revocations"+query, c.admin.Auth(), map[string]any{"role": crew})
}

// told returns whom events of users name, by version.
func told(t *testing.T, all []events.Event) map[int64][]string {
	t.Helper()
	byVersion := map[int64][]string{}
	for _, e := range all {
		p, ok := e.Payload.(events.TokenRevoked)
		if !ok || p.UserIDs == nil {
			continue
		}
		if !p.Keys || len(e.Raw) > events.MaxEventSize {
			t.Errorf("seq %d: keys %v, %d bytes", e.Seq, p.Keys, len(e.Raw))
		}
		byVersion[p.TV] = append(byVersion[p.TV], p.UserIDs...)
	}
	return byVersion
}

// A role of thousands goes in one call, in several events with one version, and the receipt speaks for the last of them.
func TestMassRevocationEndsEverythingOfEveryHolder(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		c, bystander := crowd(t, a, 2500), a.Register(t, "bystander")
		for _, u := range []system.User{c.member, bystander} {
			r.Must(t, 200, "GET", "/v1/whoami", u.Auth(), nil)
			r.Must(t, 200, "GET", "/v1/whoami", system.Key(u.LiveKey), nil)
		}
		w := listenTo(t, a)
		receipt := c.revoke(t, "?wait=fleet&timeout=30s").Receipt(t)
		if f := receipt.Fleet; f == nil || f.Total == nil || f.Applied != *f.Total || f.Applied == 0 || receipt.Seq == nil {
			t.Fatalf("receipt %+v", receipt)
		}
		for _, path := range []string{"/v1/whoami", "/v1/whoami/elite"} {
			for _, credential := range []string{c.member.Auth(), system.Key(c.member.LiveKey)} {
				if got := r.Do(t, "GET", path, credential, nil); !revoked(got) {
					t.Errorf("%s: %v", path, got)
				}
			}
			r.Must(t, 200, "GET", path, bystander.Auth(), nil)
			r.Must(t, 200, "GET", path, system.Key(bystander.LiveKey), nil)
		}
		a.Must(t, 401, "POST", "/v1/token/refresh", "", map[string]any{"refresh_token": c.member.RefreshToken})
		heard := w.since(t, 0)
		if last := heard[len(heard)-1]; len(heard) != 3 || last.Seq != *receipt.Seq {
			t.Errorf("%d events up to seq %d, the receipt says %d", len(heard), last.Seq, *receipt.Seq)
		}
		byVersion := told(t, heard)
		for tv, ids := range byVersion {
			if len(byVersion) != 1 || !slices.Equal(slices.Sorted(slices.Values(ids)), c.ids) {
				t.Errorf("version %d of %d: %d users of %d", tv, len(byVersion), len(ids), len(c.ids))
			}
		}
		a.Login(t, &c.member)
		r.Must(t, 200, "GET", "/v1/whoami", c.member.Auth(), nil)
	})
}

// listenTo hears the bus from now on.
func listenTo(t *testing.T, a *system.Auth) *wire {
	t.Helper()
	w := listen(t, a)
	w.count(t)
	w.heard = nil
	return w
}

func TestMassRevocationOfNobodySaysSo(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, _ *system.Resource) {
		admin := a.Admin(t)
		got := a.Must(t, 200, "POST", "/v1/admin/revocations?wait=fleet&timeout=30s", admin.Auth(), map[string]any{"role": "nobody"})
		if r := got.Receipt(t); r.EventID != nil || r.Seq != nil || !r.Published || r.Fleet == nil {
			t.Errorf("receipt %s", got.Body)
		}
		for _, role := range []string{"", "no body", "Nobody", "%", strings.Repeat("x", 33)} {
			got := a.Do(t, "POST", "/v1/admin/revocations", admin.Auth(), map[string]any{"role": role})
			if got.Status != 400 || got.Code() != "invalid_request" || !strings.Contains(string(got.Body), "role") || (role != "" && strings.Contains(string(got.Body), `"`+role+`"`)) {
				t.Errorf("%q: %v", role, got)
			}
		}
	})
}

// The admin who calls is no exception; who else would the call trust?
func TestMassRevocationEndsTheAdminsOwnCredentialsToo(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, _ *system.Resource) {
		admin := a.Admin(t)
		got := a.Must(t, 200, "POST", "/v1/admin/revocations?wait=published&timeout=30s", admin.Auth(), map[string]any{"role": "admin"})
		if r := got.Receipt(t); r.EventID == nil || !r.Published {
			t.Errorf("receipt %s", got.Body)
		}
		a.Must(t, 401, "GET", "/v1/me", admin.Auth(), nil)
		admin = a.Admin(t)
		a.Must(t, 200, "GET", "/v1/me", admin.Auth(), nil)
	})
}

// Of two calls at once each is whole, and the versions are those of the later one.
func TestMassRevocationsAtOnceAreEachWhole(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		c := crowd(t, a, 2500)
		w := listenTo(t, a)
		var calls sync.WaitGroup
		for range 2 {
			calls.Go(func() {
				got, err := c.Try(t.Context(), "POST", "/v1/admin/revocations?wait=fleet&timeout=30s", c.admin.Auth(), map[string]any{"role": crew})
				if err != nil || got.Status != 200 {
					t.Errorf("%v %v", got, err)
				}
			})
		}
		calls.Wait()
		byVersion := told(t, w.since(t, 0))
		if len(byVersion) != 2 {
			t.Errorf("%d versions", len(byVersion))
		}
		for tv, ids := range byVersion {
			if !slices.Equal(slices.Sorted(slices.Values(ids)), c.ids) {
				t.Errorf("version %d: %d users of %d", tv, len(ids), len(c.ids))
			}
		}
		versions := c.versions(t)
		if want := map[int64]int{slices.Max(slices.Collect(maps.Keys(byVersion))): len(c.ids)}; !maps.Equal(versions, want) {
			t.Errorf("holders by version %v, want %v", versions, want)
		}
		if got := r.Do(t, "GET", "/v1/whoami", c.member.Auth(), nil); !revoked(got) {
			t.Error(got)
		}
	})
}

// versions counts the holders by the version that the database has of them, of tokens and keys alike.
func (c *crowded) versions(t *testing.T) map[int64]int {
	t.Helper()
	versions := map[int64]int{}
	c.query(t, `SELECT tv, keys_tv, count(*) FROM users WHERE roles LIKE '%"`+crew+`"%' GROUP BY tv, keys_tv`, func(rows *sql.Rows) error {
		var tv, keys int64
		var n int
		err := rows.Scan(&tv, &keys, &n)
		versions[tv] += n
		return err
	})
	return versions
}

// announced returns the users whom the database's events name for a version, published or not.
func (c *crowded) announced(t *testing.T, tv int64) (ids []string) {
	t.Helper()
	c.query(t, `SELECT payload FROM events WHERE target = 'users'`, func(rows *sql.Rows) error {
		var payload string
		var p events.TokenRevoked
		err := rows.Scan(&payload)
		if err == nil {
			err = json.Unmarshal([]byte(payload), &p)
		}
		if p.TV == tv {
			ids = append(ids, p.UserIDs...)
		}
		return err
	})
	slices.Sort(ids)
	return ids
}

func (c *crowded) query(t *testing.T, query string, row func(*sql.Rows) error) {
	t.Helper()
	driver, source := "pgx", c.DatabaseURL
	if path, ok := strings.CutPrefix(source, "sqlite:"); ok {
		driver, source = "sqlite", path
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// However far a call has come when authsvc is killed: either nothing of it has happened, or everybody has the new version
// and is named by an event, which reaches the verifiers.
func TestNothingLostAKillInAMassRevocationLeavesAllOrNothing(t *testing.T) {
	onEachEngine(t, func(t *testing.T, a *system.Auth, r *system.Resource) {
		c := crowd(t, a, 20_000)
		began := time.Now()
		c.revoke(t, "?wait=none")
		whole := time.Since(began)
		const kills = 5
		for i := range kills {
			a.Login(t, &c.member)
			r.Must(t, 200, "GET", "/v1/whoami", c.member.Auth(), nil)
			before := c.versions(t)
			time.AfterFunc(whole*time.Duration(3*(i+1))/(2*kills), a.Kill)
			answer, failed := c.Try(context.WithoutCancel(t.Context()), "POST", "/v1/admin/revocations?wait=none", c.admin.Auth(), map[string]any{"role": crew})
			for !a.Ended() {
				time.Sleep(time.Millisecond) // a real process: nothing else tells that it was killed
			}
			a.Restart(t)
			c.allOrNothing(t, r, before, failed == nil && answer.Status == 200)
		}
	})
}

func (c *crowded) allOrNothing(t *testing.T, r *system.Resource, before map[int64]int, returned bool) {
	t.Helper()
	after := c.versions(t)
	if len(after) != 1 {
		t.Fatalf("holders by version: %v, before %v", after, before)
	}
	if maps.Equal(after, before) {
		if returned {
			t.Error("the call has returned, and nothing has happened")
		}
		t.Log("nothing")
		return
	}
	for tv := range after {
		if ids := c.announced(t, tv); !slices.Equal(ids, c.ids) {
			t.Errorf("events name %d users of %d", len(ids), len(c.ids))
		}
	}
	r.Eventually(t, "GET", "/v1/whoami", c.member.Auth(), revoked)
	t.Log("everything")
}
