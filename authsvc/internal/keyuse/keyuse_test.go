package keyuse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book is what was written.
type book struct {
	lists [][]store.KeyUse
	fail  error
}

func (b *book) write(_ context.Context, uses []store.KeyUse) (int64, error) {
	if b.fail != nil {
		return 0, b.fail
	}
	b.lists = append(b.lists, uses)
	return int64(len(uses)), nil
}

// rig is a recorder that nothing drives.
type rig struct {
	*Recorder
	*book
	t   *testing.T
	now time.Time
}

func newRig(t *testing.T) *rig {
	r := &rig{book: &book{}, t: t, now: time.Now()}
	r.Recorder = newRecorder(r.book.write, slog.New(slog.DiscardHandler), func() time.Time { return r.now })
	return r
}

func (r *rig) tell(service string, keys ...events.UsedKey) {
	r.t.Helper()
	body, err := json.Marshal(events.Used{Keys: keys})
	if err != nil {
		r.t.Fatal(err)
	}
	r.take(events.UsedSubject(service), body)
}

// written has the recorder write, and returns what it wrote.
func (r *rig) written() (all []store.KeyUse) {
	r.book.lists = nil
	r.flush(r.t.Context())
	for _, some := range r.book.lists {
		all = append(all, some...)
	}
	return all
}

func id(n int) string {
	return events.ID{0: byte(n >> 16), 1: byte(n >> 8), 2: byte(n), 6: 0x70, 8: 0x80}.String()
}

func TestTheNewestUseOfEachKeyIsWrittenWithItsService(t *testing.T) {
	r := newRig(t)
	r.tell("cars", events.UsedKey{KeyID: id(2), Ago: 30}, events.UsedKey{KeyID: id(1), Ago: 5})
	r.tell("jobs", events.UsedKey{KeyID: id(2), Ago: 20}, events.UsedKey{KeyID: id(1), Ago: 50})
	r.tell("cars", events.UsedKey{KeyID: id(2), Ago: 40})
	r.now = r.now.Add(10 * time.Second)
	r.Note(id(3))
	want := []store.KeyUse{{KeyID: id(1), Service: "cars", Ago: 15 * time.Second}, {KeyID: id(2), Service: "jobs", Ago: 30 * time.Second}, {KeyID: id(3), Service: "authsvc"}}
	if diff := cmp.Diff(want, r.written()); diff != "" {
		t.Error(diff)
	}
	if again := r.written(); again != nil {
		t.Errorf("written again: %v", again)
	}
}

func TestWhatCannotBeReadIsDropped(t *testing.T) {
	r := newRig(t)
	r.take("tocsin.v1.used.cars", []byte("{"))
	r.take("tocsin.v1.used.CARS", []byte(`{"keys":[{"key_id":"`+id(1)+`"}]}`))
	r.take("", nil)
	r.tell("cars", events.UsedKey{KeyID: "*"})
	if all := r.written(); all != nil || r.Stats() != (Stats{Dropped: 4}) {
		t.Errorf("wrote %v, %+v", all, r.Stats())
	}
}

func TestAFloodIsForgottenAndKeepsNobodyElseOut(t *testing.T) {
	r := newRig(t)
	n := 0
	for range maxMessages + 10 {
		keys := make([]events.UsedKey, events.MaxUsedKeys)
		for i := range keys {
			n++
			keys[i].KeyID = id(n)
		}
		r.tell("flood", keys...)
	}
	r.tell("cars", events.UsedKey{KeyID: id(1 << 23)})
	if s := r.Stats(); s.Messages != maxMessages+1 {
		t.Errorf("read %d messages of the flood", s.Messages-1)
	}
	all := r.written()
	if len(all) != maxKeys+1 || all[maxKeys].Service != "cars" {
		t.Errorf("%d keys to write", len(all))
	}
	for _, some := range r.book.lists {
		if len(some) > store.MaxKeyUses {
			t.Errorf("%d keys in one list", len(some))
		}
	}
	r.tell("flood", events.UsedKey{KeyID: id(1)})
	if all := r.written(); len(all) != 1 {
		t.Error("the flood is held against its service in the next round")
	}
}

func TestInventedServicesAreBounded(t *testing.T) {
	r := newRig(t)
	for i := range 2 * maxMessages {
		r.tell(fmt.Sprintf("s%d", i), events.UsedKey{KeyID: id(i)})
	}
	if n := len(r.services); n > maxMessages+1 {
		t.Errorf("%d services are remembered", n)
	}
	for s := range maxMessages {
		for i := range 2 * maxKeys / events.MaxUsedKeys {
			keys := make([]events.UsedKey, events.MaxUsedKeys)
			for k := range keys {
				keys[k].KeyID = id(i*events.MaxUsedKeys + k)
			}
			r.tell(fmt.Sprintf("s%d", s), keys...)
		}
		if s == 8 {
			break
		}
	}
	if r.keys > maxAllKeys {
		t.Errorf("%d keys are remembered", r.keys)
	}
}

func TestAFailingDatabaseCostsUsesAndNothingElse(t *testing.T) {
	r := newRig(t)
	r.book.fail = errors.New("away")
	r.tell("cars", events.UsedKey{KeyID: id(1)})
	r.flush(t.Context())
	r.book.fail = nil
	if all := r.written(); all != nil || r.Stats() != (Stats{Messages: 1, Failed: 1}) {
		t.Errorf("wrote %v, %+v", all, r.Stats())
	}
}

func TestUsesAreWrittenNowAndThenAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		r := Start(t.Context(), b.write, slog.New(slog.DiscardHandler))
		for range 600 {
			r.Note(id(1))
			time.Sleep(100 * time.Millisecond) // of the bubble
		}
		synctest.Wait()
		if n := len(b.lists); n != int(time.Minute/writeEvery) {
			t.Errorf("written %d times in a minute", n)
		}
		r.Note(id(2))
		if err := r.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		last := b.lists[len(b.lists)-1]
		if last[len(last)-1].KeyID != id(2) {
			t.Errorf("last written %v", last)
		}
	})
}
