package storetest

import (
	"testing"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// importScene is a database to which a stream tells what it has lost.
type importScene struct {
	*testing.T
	*store.DB
	user    store.User
	session store.Session
	key     store.APIKey
	seq     uint64
	later   int64 // a time or version above all in the tables
}

func newImportScene(t *testing.T, db *store.DB) *importScene {
	s := &importScene{T: t, DB: db, user: AddUser(t, db, "anna", "admin", "user")}
	s.session, s.key = AddSession(t, db, s.user), AddKey(t, db, s.user, "one")
	view(t, db, func(tx *store.Tx) error { s.later = tx.Now() + second; return nil })
	return s
}

// signed makes an event as the stream holds it; it lapses at until.
func (s *importScene) signed(until int64, p events.Payload) store.SignedEvent {
	return s.signedAt(1, until, p)
}

func (s *importScene) signedAt(at, until int64, p events.Payload) store.SignedEvent {
	s.Helper()
	content, err := events.EncodePayload(p)
	if err != nil {
		s.Fatal(err)
	}
	s.seq++
	body, err := events.EncodeEvent(s.seq, p.Type(), at, until, content)
	if err != nil {
		s.Fatal(err)
	}
	event, err := events.DecodeEvent(body)
	if err != nil {
		s.Fatal(err)
	}
	return store.SignedEvent{Epoch: "01900000-0000-7000-8000-000000000000", Event: event}
}

func (s *importScene) live(p events.Payload) store.SignedEvent { return s.signed(s.later+hour, p) }

func (s *importScene) take(want store.Imported, all ...store.SignedEvent) {
	s.Helper()
	got, err := s.ImportEvents(s.Context(), all)
	if err != nil {
		s.Fatal(err)
	}
	same(s.T, want, got)
}

// lost is one event of every kind, after which nothing of the scene works.
func (s *importScene) lost() []events.Payload {
	ended, suspended := s.later, true
	return []events.Payload{
		events.TokenRevoked{JTI: s.session.ID},
		events.TokenRevoked{SessionID: s.session.ID},
		events.TokenRevoked{UserID: s.user.ID, TV: s.later},
		events.TokenRevoked{UserIDs: []string{s.user.ID, s.key.ID}, TV: s.later + 1, Keys: true},
		events.TokenRevoked{Before: s.later / 1000, Keys: true},
		events.RoleChanged{UserID: s.user.ID, RV: s.later, Roles: []string{"user"}, Plan: "pro", Disabled: true},
		events.APIKeyRotated{KeyID: s.key.ID, NotAfter: &ended, Successor: s.session.ID},
		events.APIKeyRotated{KeyID: s.key.ID, Suspended: &suspended, KV: s.later},
	}
}

func (s *importScene) wantDead() {
	s.Helper()
	view(s.T, s.DB, func(tx *store.Tx) error {
		u, err := tx.User(s.Context(), s.user.ID)
		if err != nil {
			return err
		}
		same(s.T, []string{"user"}, u.Roles)
		same(s.T, "pro", u.Plan)
		same(s.T, []any{true, s.later + 1, s.later + 1, s.later}, []any{u.Disabled, u.TV, u.KeysTV, u.RV})
		session, err := tx.Session(s.Context(), s.session.ID)
		if err != nil {
			return err
		}
		if session.EndedAt == nil {
			s.Error("the session goes on")
		}
		key, err := tx.APIKey(s.Context(), s.key.ID)
		if err != nil {
			return err
		}
		same(s.T, []any{true, true, s.later, s.later, ""}, []any{key.Suspended, key.Held, key.KV, *key.NotAfter, key.Successor})
		a, err := tx.Authority(s.Context())
		same(s.T, []int64{s.later / 1000, s.later / 1000}, []int64{a.TokensBefore, a.KeysBefore})
		return err
	})
	states, err := s.Ask(s.Context(), []store.Question{{Credentials: []store.Credential{{JTI: s.session.ID}}}})
	if err != nil || !states[0].Credentials[0].JTIRevoked {
		s.Errorf("the jti isn't revoked: %v", err)
	}
}

func importRedoesEveryEffect(t *testing.T, db *store.DB) {
	s := newImportScene(t, db)
	var all []store.SignedEvent
	for _, p := range s.lost() {
		all = append(all, s.live(p))
	}
	// The state of a jti is its event alone; of two versions of a user only the first is needed to change the tables.
	s.take(store.Imported{Effects: len(all) - 1, Events: len(all)}, append(all, all...)...)
	s.wantDead()
	s.take(store.Imported{}, all...) // as after a crash in the middle
	s.wantDead()

	entries := 0
	view(t, db, func(tx *store.Tx) error {
		rows, err := tx.Audit(t.Context(), "", 100)
		for _, row := range rows {
			if row.Action == "event.imported" && row.Actor == "system" {
				entries++
			}
		}
		return err
	})
	same(t, len(all), entries)
}

// What lapsed long ago still decides about sessions, keys and roles.
func importRedoesLapsedEvents(t *testing.T, db *store.DB) {
	s := newImportScene(t, db)
	s.take(store.Imported{Effects: 1, Events: 1}, s.signed(2, events.TokenRevoked{SessionID: s.session.ID}), s.signed(2, events.TokenRevoked{JTI: s.key.ID}))
	s.take(store.Imported{}, s.signed(2, events.TokenRevoked{SessionID: s.session.ID}))
}

// A job grant lives for a day, whatever has lapsed, and nothing but the event tells that it, or the token that it is of, was revoked.
func importKeepsRevokedTokensForADay(t *testing.T, db *store.DB) {
	s := newImportScene(t, db)
	for hours, want := range map[int64]int{23: 1, 25: 0} {
		var jti string
		update(t, db, func(tx *store.Tx) error { jti = tx.NewID(); return nil })
		at := s.later - hours*hour
		s.take(store.Imported{Events: want}, s.signedAt(at, at+hour, events.TokenRevoked{JTI: jti}))
		same(t, want == 1, revoked(t, db, jti))
	}
}

func revoked(t *testing.T, db *store.DB, jti string) bool {
	t.Helper()
	states, err := db.Ask(t.Context(), []store.Question{{Credentials: []store.Credential{{JTI: jti}}}})
	if err != nil {
		t.Fatal(err)
	}
	return states[0].Credentials[0].JTIRevoked
}

func importNeverLoosens(t *testing.T, db *store.DB) {
	s := newImportScene(t, db)
	var all []store.SignedEvent
	for _, p := range s.lost() {
		all = append(all, s.live(p))
	}
	s.take(store.Imported{Effects: len(all) - 1, Events: len(all)}, all...)
	resumed, far := false, s.later+hour
	s.take(store.Imported{Events: 4},
		s.live(events.TokenRevoked{UserID: s.user.ID, TV: 1}),
		s.live(events.RoleChanged{UserID: s.user.ID, RV: s.later - 1, Roles: []string{"admin"}, Plan: "free"}),
		s.live(events.APIKeyRotated{KeyID: s.key.ID, NotAfter: &far}),
		s.live(events.APIKeyRotated{KeyID: s.key.ID, Suspended: &resumed, KV: s.later - 1}))
	s.wantDead()

	// Versions that are given from now on are above those that were imported, though the clock is behind them.
	update(t, db, func(tx *store.Tx) error {
		u, err := tx.LockUser(t.Context(), s.user.ID)
		if err != nil {
			return err
		}
		tv, err := tx.BumpTokens(t.Context(), []store.User{u}, false)
		if err != nil {
			return err
		}
		rv, err := tx.SetAuthorization(t.Context(), u.ID, nil, "free", false)
		if err != nil {
			return err
		}
		kv, err := tx.SetAPIKeySuspended(t.Context(), s.key.ID, false, false)
		same(t, []int64{s.later + 2, s.later + 1, s.later + 1}, []int64{tv, rv, kv})
		return err
	})
}

// Nobody says who suspended or resumed: an admin may have done either.
func importHoldsAndLetsGo(t *testing.T, db *store.DB) {
	s := newImportScene(t, db)
	for n, suspended := range []bool{true, false} {
		s.take(store.Imported{Effects: 1, Events: 1}, s.live(events.APIKeyRotated{KeyID: s.key.ID, Suspended: &suspended, KV: s.later + int64(n)}))
		view(t, db, func(tx *store.Tx) error {
			key, err := tx.APIKey(t.Context(), s.key.ID)
			same(t, []bool{suspended, suspended}, []bool{key.Suspended, key.Held})
			return err
		})
	}
}

// A key that died at once is dead whatever becomes of the clock, once.
func importEndsKeysForGood(t *testing.T, db *store.DB) {
	s := newImportScene(t, db)
	long := int64(1)
	ended := s.live(events.APIKeyRotated{KeyID: s.key.ID, NotAfter: &long})
	s.take(store.Imported{Effects: 1, Events: 1}, ended)
	s.take(store.Imported{}, ended)
	view(t, db, func(tx *store.Tx) error {
		key, err := tx.APIKey(t.Context(), s.key.ID)
		same(t, true, key.Ended)
		return err
	})
}

// Those whom the database doesn't know came after the backup: their events are kept, for the verifiers that know them.
func importKeepsEventsOfTheUnknown(t *testing.T, db *store.DB) {
	s := newImportScene(t, db)
	gone := "01900000-0000-7000-8000-00000000dead"
	ended := s.later
	s.take(store.Imported{Events: 4},
		s.live(events.TokenRevoked{UserID: gone, TV: s.later, Keys: true}),
		s.live(events.RoleChanged{UserID: gone, RV: s.later, Roles: []string{"admin"}, Plan: "free"}),
		s.live(events.TokenRevoked{SessionID: gone}),
		s.live(events.APIKeyRotated{KeyID: gone, NotAfter: &ended}),
		s.live(events.KeysChanged{Hash: events.Hash{1}}))
}

// A pile is imported in transactions of bounded size, and numbered like all other events.
func importedPileIsNumbered(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	f.number()
	s := newImportScene(t, f.DB)
	var pile []store.SignedEvent
	var ids []string
	update(t, f.DB, func(tx *store.Tx) error {
		for range 450 {
			ids = append(ids, tx.NewID())
		}
		return nil
	})
	for _, id := range ids {
		pile = append(pile, s.live(events.TokenRevoked{SessionID: id}))
	}
	s.take(store.Imported{Events: len(pile)}, pile...)
	same(t, len(pile), len(f.number().Rows))
}

func lostCommitAsksForAnImport(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	f.wantImport(0, store.FeedPlace{})
	f.commit(2)
	from := f.number().Now
	f.mark(2)
	seen, after := f.at, store.FeedPlace{Epoch: f.at.Epoch, Seq: 2}
	seen.Head++
	f.acquire("a", seen)
	f.wantImport(from, after)
	f.acquire("a", store.FeedPosition{}) // who takes over after a crash
	f.wantImport(from, after)
	f.finishImport(f.lease.Term - 1)
	f.wantImport(from, after)

	// Set back once more, to a backup that was made before that import was through: nothing of what it lacks came later.
	f.commit(1)
	f.number()
	f.mark(f.at.Head)
	seen = f.at
	seen.Head++
	f.acquire("a", seen)
	f.wantImport(from, after)
	f.finishImport(f.lease.Term)
	f.wantImport(0, store.FeedPlace{})

	// A database that was set back and has gone on since: nothing tells when.
	f.commit(2)
	f.number()
	fork := f.at
	fork.Head, fork.Chain = 1, f.chainAt(2)
	f.acquire("a", fork)
	f.wantImport(1, store.FeedPlace{})
}

// wantImport checks what the present term was told.
func (f *feedTest) wantImport(from int64, after store.FeedPlace) {
	f.Helper()
	same(f.T, from, f.lease.ImportFrom)
	same(f.T, after, f.lease.ImportAfter)
}

// finishImport ends an import in a term; then the next term begins.
func (f *feedTest) finishImport(term int64) {
	f.Helper()
	if err := f.FinishImport(f.Context(), term); err != nil {
		f.Fatal(err)
	}
	f.acquire("a", store.FeedPosition{})
}

// A dispatcher that can't see the stream numbers events in a database that was set back, and stores none of them there. They
// tell nothing of when the backup was made.
func eventsAfterTheBackupAreNotItsEnd(t *testing.T, f *feedTest) {
	f.acquire("a", store.FeedPosition{})
	f.commit(2)
	backup := f.number().Now
	f.mark(2)
	f.commit(1)
	f.number()
	seen := f.at // what the stream holds, as shows later
	seen.Head += 5
	f.acquire("a", seen)
	f.wantImport(backup, store.FeedPlace{Epoch: seen.Epoch, Seq: 2})
}

// mark records that events are in the stream.
func (f *feedTest) mark(seq uint64) {
	f.Helper()
	r := f.request()
	r.PublishedTo = seq
	f.numberWith(r)
}
