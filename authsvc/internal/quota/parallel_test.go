package quota

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Instances ask at once, through two replicas, about the same users in any order; each spends all that it is allowed at once.
func TestManyHoldersAtOnceNeverHoldMoreThanTheLimit(t *testing.T) {
	const limit, instances, users, rounds = 37, 6, 3, 25
	eachEngine(t, []store.PlanLimit{per(86400, limit), per(31*86400, 1000)}, func(t *testing.T, w *world) {
		var subjects []string
		for range users {
			subjects = append(subjects, w.user(t).ID)
		}
		replicas := []*Ledger{w.ledger, NewLedger(w.db)}
		var spent [instances][users]int64
		group, ctx := errgroup.WithContext(t.Context())
		for i := range instances {
			group.Go(func() error {
				q := Question{Service: fmt.Sprintf("s%d", i%2), QuotaRequest: events.QuotaRequest{StartNonce: events.NewNonce()}}
				for n := range users {
					q.Entries = append(q.Entries, events.QuotaEntry{Subject: subjects[(i+n)%users], Resource: resource, Want: 4})
				}
				for range rounds {
					if err := tell(ctx, replicas[i%2], &q); err != nil {
						return err
					}
				}
				for n, e := range q.Entries {
					spent[i][(i+n)%users] = e.Spent
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		for n := range users {
			var sum int64
			for i := range instances {
				sum += spent[i][n]
			}
			if sum != limit { // all wanted more than there is
				t.Errorf("%d were accepted of %d", sum, limit)
			}
		}
	})
}

// tell asks, and spends what is allowed.
func tell(ctx context.Context, ledger *Ledger, q *Question) error {
	q.Seq++
	answers, err := ledger.Settle(ctx, []Question{*q})
	if err != nil {
		return err
	}
	for n, g := range answers[0].Grants {
		e := &q.Entries[n]
		if g.Term != e.Term && e.Term != 0 {
			return errors.New("a day has ended in between: run it again")
		}
		e.Term, e.Spent = g.Term, max(e.Spent, g.Allowed)
	}
	return nil
}
