package quota

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/authsvc/internal/store/storetest"
	"github.com/tocsin-auth/tocsin/pkg/events"
	"github.com/tocsin-auth/tocsin/test/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main{M: m}) }

// world is a database with plans and users.
type world struct {
	db     *store.DB
	clock  *storetest.Clock
	ledger *Ledger
	seq    uint64
}

const resource = "requests"

// eachEngine runs a test with a database of each engine, in which the plan free, of new users, has limits.
func eachEngine(t *testing.T, limits []store.PlanLimit, test func(t *testing.T, w *world)) {
	t.Helper()
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, engine, limits))
		})
	}
}

func newWorld(t testing.TB, engine store.Engine, limits []store.PlanLimit) *world {
	t.Helper()
	clock := new(storetest.Clock)
	clock.Early(24 * time.Hour)
	w := &world{clock: clock, db: storetest.Open(t, storetest.URL(t, engine), clock.Option())}
	w.ledger = NewLedger(w.db)
	w.plans(t, store.Plan{Name: "free", Limits: limits})
	return w
}

func (w *world) update(t testing.TB, change func(ctx context.Context, tx *store.Tx) error) {
	t.Helper()
	if err := w.db.Update(t.Context(), func(tx *store.Tx) error { return change(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

func (w *world) plans(t testing.TB, plans ...store.Plan) {
	t.Helper()
	w.update(t, func(ctx context.Context, tx *store.Tx) error { return tx.SetPlans(ctx, plans) })
}

func (w *world) user(t testing.TB) store.User {
	t.Helper()
	return storetest.AddUser(t, w.db, events.NewNonce())
}

// usage reads what a user has used.
func (w *world) usage(t testing.TB, u store.User) (all []Usage) {
	t.Helper()
	if err := w.db.View(t.Context(), func(tx *store.Tx) (err error) {
		all, err = Read(t.Context(), tx, u)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// ask sends one entry as an instance.
func (w *world) ask(t testing.TB, start string, e events.QuotaEntry) events.QuotaGrant {
	t.Helper()
	w.seq++
	answers, err := w.ledger.Settle(t.Context(), []Question{{Service: "cars",
		QuotaRequest: events.QuotaRequest{StartNonce: start, Seq: w.seq, Entries: []events.QuotaEntry{e}}}})
	if err != nil {
		t.Fatal(err)
	}
	return answers[0].Grants[0]
}

func perDay(limit int64) []store.PlanLimit {
	return []store.PlanLimit{{Resource: resource, Limit: limit, Seconds: 86400}}
}
