package auth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/keyring"
	"github.com/tocsin-auth/tocsin/authsvc/internal/seal"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
)

// arena is a world with the real key ring, whose rotations commit with their transaction, and a connection of its own to
// the database.
type arena struct {
	*world
	url    string
	beside *sql.DB
	scenes int
}

func newArena(t *testing.T, url string) *arena {
	t.Helper()
	w := &world{bus: &memoryBus{}, clock: &storetest.Clock{}}
	db := storetest.Open(t, url, w.clock.Option())
	sealer, err := seal.New(seal.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	ring, err := keyring.Open(t.Context(), keyring.Config{DB: db, Sealer: sealer, Issuer: "http://auth.test", Alg: "EdDSA", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	w.Service, err = New(Config{DB: db, Reads: gather(t, db), Ring: ring, Issuer: "http://auth.test", Audience: "tocsin", AccessTTL: 15 * time.Minute,
		RefreshTTL: 720 * time.Hour, RefreshIdle: 168 * time.Hour, PasswordMin: 12, Bus: w.bus, Nudge: func() { w.nudges.Add(1) }, Used: w.used.note, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	w.hasher = newHasher(cheap)
	if _, err := w.Bootstrap(t.Context(), BootstrapRequest{Username: "root", Password: password}); err != nil {
		t.Fatal(err)
	}
	driver, source := "pgx", url
	if a, ok := strings.CutPrefix(url, "sqlite:"); ok {
		driver, source = "sqlite", a
	}
	beside, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { beside.Close() })
	return &arena{world: w, url: url, beside: beside}
}

func (a *arena) postgres() bool { return !strings.HasPrefix(a.url, "sqlite:") }

func (a *arena) lastEvent(t *testing.T) (id string) {
	t.Helper()
	if err := a.beside.QueryRowContext(t.Context(), `SELECT COALESCE(max(id), '') FROM events`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// schedule is how two calls are made to meet: the first is stopped at a lock point, then the second begins.
type schedule struct {
	name        string
	endingFirst bool
	close       func(sc *scene, table string) gate
	watermarks  bool // the first is stopped there
	// stops tells which pairs it is for: those of which it stops the first.
	stops func(i issuing, e endingCall) bool
}

func (a *arena) schedules(t *testing.T) []schedule {
	always := func(issuing, endingCall) bool { return true }
	if !a.postgres() {
		writer := func(*scene, string) gate { return closeSQLite(t, a.beside) }
		return []schedule{{"at the writer", false, writer, false, always}, {"at the writer", true, writer, false, always}}
	}
	locked := func(_ *scene, table string) gate {
		return closePostgres(t, a.beside, `LOCK TABLE `+table+` IN SHARE MODE`)
	}
	rows := func(sc *scene, _ string) gate {
		return closePostgres(t, a.beside, `SELECT 1 FROM users JOIN sessions ON sessions.user_id = users.id WHERE users.id = $1 FOR UPDATE`, sc.user.ID)
	}
	watermarks := func(*scene, string) gate {
		return closePostgres(t, a.beside, `SELECT pg_advisory_xact_lock($1)`, int64(0x746f6373_01))
	}
	byWatermarks := func(_ issuing, e endingCall) bool { return e.watermarks }
	return []schedule{
		{"holding its locks", false, locked, false, always},
		{"holding its locks", true, locked, false, always},
		{"at the user's rows", false, rows, false, func(i issuing, _ endingCall) bool { return !i.beside }},
		{"at the user's rows", true, rows, false, func(_ issuing, e endingCall) bool { return !e.beside }},
		{"at the watermarks", false, watermarks, true, byWatermarks},
		{"at the watermarks", true, watermarks, true, byWatermarks},
	}
}

// TestNothingLostWhatIsIssuedWhileTrustEndsIsRefusedOrDead lets every call that issues a credential meet every call that
// ends trust, at each point where one can wait for the other, in both orders. When both have returned, what was issued before
// the end is dead, for authsvc, for the elite check and by the events alike; what rests on what had ended was refused; and
// what was issued after the end, or isn't meant by it, lives. With -short every third schedule has to do.
func TestNothingLostWhatIsIssuedWhileTrustEndsIsRefusedOrDead(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		a := newArena(t, url)
		met, n := map[turn]int{}, 0
		for _, i := range issuingCalls() {
			for _, e := range endingCalls() {
				for _, s := range a.schedules(t) {
					if !s.stops(i, e) {
						continue
					}
					if n++; testing.Short() && n%3 != 0 {
						continue
					}
					name := fmt.Sprintf("%s, %s, the first %s", i.name, e.name, s.name)
					if s.endingFirst {
						name = fmt.Sprintf("%s, %s, the first %s", e.name, i.name, s.name)
					}
					t.Run(name, func(t *testing.T) { met[a.meet(t, i, e, s)]++ })
				}
			}
		}
		if !t.Failed() && (met[firstFirst] == 0 || a.postgres() && met[secondFirst] == 0) {
			t.Errorf("not every order was produced: %v", met)
		}
		t.Logf("in the order of beginning %d, overtaken %d, unknown %d", met[firstFirst], met[secondFirst], met[unknown])
	})
}

// meet runs one schedule and returns its order.
func (a *arena) meet(t *testing.T, i issuing, e endingCall, s schedule) turn {
	a.scenes++
	sc := sceneOf(t, a.world, fmt.Sprintf("vera%d", a.scenes))
	if i.prepare != nil {
		if err := i.prepare(sc); err != nil {
			t.Fatal(err)
		}
	}
	before := a.lastEvent(t)
	var got issued
	var refused, failed error
	issue := func() { got, refused = i.issue(context.WithoutCancel(t.Context()), sc) }
	end := func() { failed = e.end(context.WithoutCancel(t.Context()), sc) }
	first, second, table := issue, end, i.within
	if s.endingFirst {
		first, second, table = end, issue, "events"
	}
	order := race(t, s.close(sc, table), first, second)
	if failed != nil {
		t.Fatalf("the ending call: %v", failed)
	}
	if e.passes && s.endingFirst && (s.watermarks || i.beside) {
		order = unknown // who waited behind it, or went past it, may have come first all the same
	}
	m := meeting{t: t, arena: a, told: tellAll(t, a.beside, before), issuing: i, ending: e,
		issueFirst: order == firstFirst && !s.endingFirst || order == secondFirst && s.endingFirst,
		endFirst:   order == firstFirst && s.endingFirst || order == secondFirst && !s.endingFirst}
	m.check(got, refused)
	return order
}

// meeting is how two calls met.
type meeting struct {
	t                    *testing.T
	arena                *arena
	told                 *told
	issuing              issuing
	ending               endingCall
	issueFirst, endFirst bool // neither: not known
}

// rested reports whether the ending call ends what the issuing one rests on.
func (m meeting) rested() bool {
	return slices.ContainsFunc(m.issuing.rests, func(r rests) bool { return slices.Contains(m.ending.ends, r) })
}

func (m meeting) covers(made string) bool {
	return slices.Contains(m.issuing.makes, made) && slices.Contains(m.ending.covers, made)
}

func (m meeting) check(got issued, refused error) {
	m.t.Helper()
	if refused != nil {
		m.checkRefusal(refused)
		return
	}
	if m.endFirst && m.rested() {
		m.t.Error("issued, after what it rests on had ended")
	}
	if got.tokens != nil {
		m.checkTokens(*got.tokens)
	}
	if got.derived != nil {
		_, v := m.arena.judgeToken(m.t, m.told, got.derived.AccessToken)
		m.checkVerdict("derived token", v, m.covers("derived of A") || m.covers("derived of the key"))
	}
	for _, key := range got.keys {
		v := m.arena.judgeKey(m.t, m.told, m.arena.made(m.t, key))
		m.checkVerdict("key", v, m.covers("key") || m.covers("key of another"))
	}
}

func (m meeting) checkRefusal(refused error) {
	m.t.Helper()
	known := slices.ContainsFunc([]error{ErrInvalidCredentials, ErrInvalidRefreshToken, ErrUnauthenticated, ErrConflict, ErrNotFound, ErrInvalidGrant, errNoSubject},
		func(sentinel error) bool { return errors.Is(refused, sentinel) })
	if !known {
		m.t.Errorf("refused by %v", refused)
	}
	if m.issueFirst || !m.rested() {
		m.t.Errorf("refused, though nothing that it rests on had ended: %v", refused)
	}
}

func (m meeting) checkTokens(tokens Tokens) {
	m.t.Helper()
	claims, v := m.arena.judgeToken(m.t, m.told, tokens.AccessToken)
	m.checkVerdict("access token", v, m.covers("token") || m.covers("token of A"))
	if v.auth {
		m.arena.checkRoles(m.t, m.told, claims)
	}
	alive := m.told.session(claims.SessionID, claims.Subject, claims.TV)
	_, err := m.arena.Refresh(m.t.Context(), tokens.RefreshToken, Client{})
	m.checkVerdict("session", verdict{err == nil, alive, alive}, m.covers("session") || m.covers("session A"))
}

// checkVerdict compares what is said of a credential that was issued.
func (m meeting) checkVerdict(what string, v verdict, covered bool) {
	m.t.Helper()
	switch {
	case !v.agreed():
		m.t.Errorf("%s: %v", what, v)
	case m.ending.byTime:
	case m.issueFirst && covered && v.auth:
		m.t.Errorf("the %s was issued before the end, and lives", what)
	case m.issueFirst && !covered && !v.auth:
		m.t.Errorf("the %s isn't meant, and is dead", what)
	case m.endFirst && !m.rested() && !v.auth:
		m.t.Errorf("the %s was issued after the end, and is dead", what)
	case !m.issueFirst && m.rested() && covered && v.auth:
		m.t.Errorf("the %s rests on what was ended, and lives", what)
	}
}

// made adds what a verifier would have learnt of a key when it was made.
func (a *arena) made(t *testing.T, key IssuedKey) madeKey {
	t.Helper()
	state, err := a.askKey(t.Context(), key.Key)
	if err != nil {
		t.Fatal(err)
	}
	return madeKey{key, state.Credentials[0].Key.TV} // 0 when it is gone: any event about its user's keys kills it
}
