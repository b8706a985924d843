package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// atOnce runs n functions that begin together.
func atOnce(t *testing.T, n int, run func(ctx context.Context, i int) error) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	start := make(chan struct{})
	for i := range n {
		group.Go(func() error {
			<-start
			return run(ctx, i)
		})
	}
	close(start)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

var errLastAdmin = errors.New("last admin")

// lastAdminStays has every admin demoted, disabled or deleted at once, many times over.
func lastAdminStays(t *testing.T, db *store.DB) {
	for round := range 5 {
		var admins []store.User
		for i := range 4 {
			admins = append(admins, AddUser(t, db, fmt.Sprintf("admin-%d-%d", round, i), store.RoleAdmin, "user"))
		}
		var refused atomic.Int32
		atOnce(t, len(admins), func(ctx context.Context, i int) error {
			err := db.Update(ctx, func(tx *store.Tx) error { return removeAdmin(ctx, tx, admins[i].ID, i) })
			if errors.Is(err, errLastAdmin) {
				refused.Add(1)
				return nil
			}
			return err
		})
		same(t, int32(1), refused.Load())
		update(t, db, func(tx *store.Tx) error { // make room for the next round
			left, err := tx.Users(t.Context(), "admin-", "", 100)
			active := 0
			for _, u := range left {
				if !slices.Contains(u.Roles, store.RoleAdmin) {
					continue
				}
				if !u.Disabled {
					active++
				}
				err = errors.Join(err, tx.DeleteUser(t.Context(), u.ID))
			}
			same(t, 1, active)
			return err
		})
	}
}

func removeAdmin(ctx context.Context, tx *store.Tx, id string, how int) error {
	admins, err := tx.LockAdmins(ctx)
	if err != nil {
		return err
	}
	if admins < 2 {
		return errLastAdmin
	}
	switch how % 3 {
	case 0:
		return tx.DeleteUser(ctx, id)
	case 1:
		_, err = tx.SetAuthorization(ctx, id, []string{store.RoleAdmin}, "free", true)
	default:
		_, err = tx.SetAuthorization(ctx, id, []string{"user"}, "free", false)
	}
	return err
}

func versionsAreNeverUsedTwice(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada", "user")
	k := AddKey(t, db, u, "one")
	var mu sync.Mutex
	seen := map[string][]int64{}
	note := func(kind string, v int64) {
		mu.Lock()
		defer mu.Unlock()
		seen[kind] = append(seen[kind], v)
	}
	atOnce(t, 8, func(ctx context.Context, i int) error {
		for range 5 {
			var tv, rv, kv int64
			err := db.Update(ctx, func(tx *store.Tx) error {
				locked, err := tx.LockUser(ctx, u.ID)
				if err != nil {
					return err
				}
				if tv, err = tx.BumpTokens(ctx, []store.User{locked}, i%2 == 0); err != nil {
					return err
				}
				if rv, err = tx.SetAuthorization(ctx, u.ID, locked.Roles, locked.Plan, false); err != nil {
					return err
				}
				kv, err = tx.SetAPIKeySuspended(ctx, k.ID, i%2 == 0, i%4 == 0)
				return err
			})
			if err != nil {
				return err
			}
			note("tv", tv)
			note("rv", rv)
			note("kv", kv)
		}
		return nil
	})
	for kind, versions := range seen {
		slices.Sort(versions)
		same(t, 40, len(versions))
		if len(slices.Compact(versions)) != 40 {
			t.Errorf("%s was used twice", kind)
		}
	}
}

func refreshTokenHasOneFirstUse(t *testing.T, db *store.DB) {
	s := AddSession(t, db, AddUser(t, db, "ada"))
	hash := []byte("token")
	update(t, db, func(tx *store.Tx) error {
		return tx.InsertRefreshToken(t.Context(), store.RefreshToken{Hash: hash, SessionID: s.ID, Generation: 1, CreatedAt: 1})
	})
	var first atomic.Int32
	atOnce(t, 8, func(ctx context.Context, i int) error {
		return db.Update(ctx, func(tx *store.Tx) error {
			r, _, _, err := tx.LockFamily(ctx, hash)
			if err != nil || r.UsedAt != nil {
				return err
			}
			if err := tx.UseRefreshToken(ctx, hash); err != nil {
				return err
			}
			next := store.RefreshToken{Hash: []byte("next"), SessionID: s.ID, Generation: 2, CreatedAt: tx.Now()}
			if err := tx.InsertRefreshToken(ctx, next); err != nil {
				return err
			}
			first.Add(1)
			return nil
		})
	})
	same(t, int32(1), first.Load())
}

func oneGetsAUsername(t *testing.T, db *store.DB) {
	var won atomic.Int32
	atOnce(t, 8, func(ctx context.Context, i int) error {
		err := db.Update(ctx, func(tx *store.Tx) error {
			return tx.InsertUser(ctx, store.User{ID: tx.NewID(), Username: "ada", Roles: []string{"user"}, Plan: "free"})
		})
		if errors.Is(err, store.ErrConflict) {
			return nil
		}
		won.Add(1)
		return err
	})
	same(t, int32(1), won.Load())
}

// noIssuingStraddles raises the watermark while sessions are made. A session whose transaction read the old watermark
// and committed after the raise would be older than the revocation by its id, and yet be unknown to it.
func noIssuingStraddles(t *testing.T, db *store.DB) {
	u := AddUser(t, db, "ada")
	var returned atomic.Int64 // greatest watermark whose raise returned
	atOnce(t, 6, func(ctx context.Context, i int) error {
		for range 20 {
			if i == 0 {
				if err := raiseToNow(ctx, db, &returned); err != nil {
					return err
				}
				continue
			}
			known := returned.Load()
			if err := issueAbove(ctx, db, u, known); err != nil {
				return err
			}
		}
		return nil
	})
}

func raiseToNow(ctx context.Context, db *store.DB, returned *atomic.Int64) error {
	var mark int64
	err := db.Update(ctx, func(tx *store.Tx) error {
		mark = tx.Now()/1000 + 1
		_, err := tx.RaiseBefore(ctx, mark, true)
		return err
	})
	if err != nil {
		return err
	}
	returned.Store(mark)
	return db.WaitUntil(ctx, mark*1000)
}

func issueAbove(ctx context.Context, db *store.DB, u store.User, known int64) error {
	return db.Issue(ctx, time.Minute, func(tx *store.Tx, a store.Authority) error {
		id, err := events.ParseID(tx.NewID())
		if err != nil {
			return err
		}
		if id.Millis() < known || id.Millis() < a.TokensBefore {
			return fmt.Errorf("issued at %d after a revocation of all before %d returned", id.Millis(), known)
		}
		now, err := tx.Authority(ctx)
		if err == nil && now.TokensBefore != a.TokensBefore {
			return errors.New("the watermark moved under an issuing transaction")
		}
		return err
	})
}

// revokingIsNotStarved raises the watermark while issuing transactions overlap without a gap.
func revokingIsNotStarved(t *testing.T, db *store.DB) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	group, _ := errgroup.WithContext(ctx)
	for range 6 {
		group.Go(func() error {
			for ctx.Err() == nil {
				err := db.Issue(ctx, 0, func(tx *store.Tx, _ store.Authority) error { tx.NewID(); return nil })
				if err != nil && ctx.Err() == nil {
					return err
				}
			}
			return nil
		})
	}
	limit, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // what starves gets no turn at all
	defer cancel()
	var ignored atomic.Int64
	for range 5 {
		if err := raiseToNow(limit, db, &ignored); err != nil {
			t.Errorf("revoking everything: %v", err)
			break
		}
	}
	stop()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// deadlocksAreRetried locks two users in both orders, against the rule.
func deadlocksAreRetried(t *testing.T, db *store.DB) {
	users := []store.User{AddUser(t, db, "ada"), AddUser(t, db, "bob")}
	var met [2]sync.Once
	var both sync.WaitGroup
	both.Add(2)
	atOnce(t, 2, func(ctx context.Context, i int) error {
		return db.Update(ctx, func(tx *store.Tx) error {
			if _, err := tx.LockUser(ctx, users[i].ID); err != nil {
				return err
			}
			if db.Engine() == store.Postgres { // the one writer of SQLite never meets another
				met[i].Do(both.Done)
				both.Wait()
			}
			return tx.SetPassword(ctx, users[1-i].ID, fmt.Sprint(i))
		})
	})
}
