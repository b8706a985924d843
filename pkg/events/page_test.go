package events

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
)

// testPage makes one page of events' bytes.
func testPage(t testing.TB, first uint64, raws [][]byte) []byte {
	t.Helper()
	p, err := NewPage(testEpoch, first, ChainStart(testIssuer, testEpoch), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range raws {
		if ok, err := p.Add(raw); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	return p.Encode()
}

// everyPayload is one event of each kind, at times of its own, and of kinds that only a later release knows.
func everyPayload(t testing.TB) (raws [][]byte) {
	t.Helper()
	for i, c := range payloads {
		body, err := EncodePayload(c.p)
		if err != nil {
			t.Fatal(err)
		}
		raws = append(raws, testEvent(t, len(raws), c.p.Type(), body, int64(i*i*1000)))
	}
	for _, later := range []string{`{"tenant":"x"}`, `{"jti":"` + idA + `","why":"x"}`, `{"jti": "` + idB + `"}`, `{"ignorable":true}`} {
		raws = append(raws, testEvent(t, len(raws), TypeTokenRevoked, []byte(later), 5))
	}
	return append(raws, testEvent(t, len(raws), "tenant.closed", []byte(`{"ignorable":true}`), 7))
}

func testEvent(t testing.TB, n int, typ Type, payload []byte, later int64) []byte {
	t.Helper()
	raw, err := EncodeEvent(uint64(n+1), typ, at+later, until+2*later, payload)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// sameAsBatch compares a page with the ordinary batch of the same events.
func sameAsBatch(t testing.TB, page []byte, first uint64, raws [][]byte) {
	t.Helper()
	body, err := EncodeBatch(testEpoch, first, ChainStart(testIssuer, testEpoch), 1, false, raws)
	if err != nil {
		t.Fatal(err)
	}
	want, err := DecodeBatch(body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodePage(page)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want.Events {
		want.Events[i].Raw = nil
	}
	want.Compact = true
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("the page tells\n%+v\nand the batch\n%+v", got, want)
	}
}

func TestAPageSaysOfEveryKindOfEventWhatABatchSays(t *testing.T) {
	raws := everyPayload(t)
	sameAsBatch(t, testPage(t, 1, raws), 1, raws)
	golden(t, "page", KindPage, testPage(t, 1, raws))
	golden(t, "snapshot_request_compact", "", mustJSON(t, SnapshotRequest{Epoch: testEpoch, From: 1, Compact: CompactForm}))
}

func TestEventsOfEveryKindButRoleChangesGoIntoAPageByTheirFields(t *testing.T) {
	for i, c := range payloads {
		raw := encodeTestEvent(t, uint64(i+1), c.p)
		e, ok := scanEvent(uint64(i+1), raw)
		want := c.p.Type() == TypeTokenRevoked || c.p.Type() == TypeAPIKeyRotated
		if ok != want || (ok && !bytes.Equal(appendEvent(nil, e), raw)) {
			t.Errorf("%s: %v, made %s of %s", c.name, ok, appendEvent(nil, e), raw)
		}
	}
}

func TestAPageWithAnyBitChangedIsRefused(t *testing.T) {
	page := testPage(t, 1, everyPayload(t))
	for i := range page {
		if 1 <= i && i < 17 || 29 <= i && i < 37 {
			continue // epoch and floor aren't in the chain: only the signature protects them
		}
		for bit := range 8 {
			page[i] ^= 1 << bit
			if _, err := DecodePage(page); !errors.Is(err, ErrInvalid) {
				t.Fatalf("bit %d of byte %d of %d: %v", bit, i, len(page), err)
			}
			page[i] ^= 1 << bit
		}
	}
	for n := range page {
		if _, err := DecodePage(page[:n]); !errors.Is(err, ErrInvalid) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := DecodePage(append(page, 0)); !errors.Is(err, ErrInvalid) {
		t.Fatal("with a byte more:", err)
	}
}

func TestAPageThatLeavesAnEventOutIsRefused(t *testing.T) {
	for left := range payloads {
		raws := everyPayload(t)
		whole, err := DecodePage(testPage(t, 1, raws))
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPage(testEpoch, 1, whole.Prev, 1)
		if err != nil {
			t.Fatal(err)
		}
		for i, raw := range raws {
			if i != left {
				if _, err := p.Add(raw); err != nil {
					t.Fatal(err)
				}
			}
		}
		page := p.Encode()
		copy(page[69:], whole.Chain[:]) // what it would have to lead to
		if _, err := DecodePage(page); !errors.Is(err, ErrInvalid) {
			t.Errorf("without %s: %v", payloads[left].name, err)
		}
	}
}

func TestAPageEndsAtItsLimits(t *testing.T) {
	p, err := NewPage(testEpoch, 1, Hash{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	big, n := bytes.Repeat([]byte{'x'}, MaxEventSize), 0
	for ok := true; ok; n++ {
		if ok, err = p.Add(big); err != nil {
			t.Fatal(err)
		}
	}
	if body := p.Encode(); n != 4 || len(body) > maxPage || p.LastSeq() != 3 {
		t.Fatal(n, len(body), p.LastSeq())
	}
	if _, err := p.Add(make([]byte, MaxEventSize+1)); !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
}

func FuzzPagesThatDecodeAreExactlyWhatTheySay(f *testing.F) {
	f.Add(testPage(f, 1, everyPayload(f)))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := DecodePage(body)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		d := pageDecoder{rest: body[pageHead:]}
		links := linker{chain: b.Prev}
		for i, e := range b.Events {
			again, raw, err := d.event(e.Seq)
			if err != nil || !reflect.DeepEqual(again, e) || links.next(raw) != b.Links[i] {
				t.Fatalf("%+v, then %+v: %v", e, again, err)
			}
			decoded, err := DecodeEvent(raw)
			if decoded.Raw = nil; err != nil || !reflect.DeepEqual(decoded, e) {
				t.Fatalf("the page says %+v, its bytes %s say %+v: %v", e, raw, decoded, err)
			}
		}
	})
}

func FuzzAnyEventGoesThroughAPageUnchanged(f *testing.F) {
	for i, raw := range everyPayload(f) {
		f.Add(uint64(i+1), raw)
	}
	f.Fuzz(func(t *testing.T, seq uint64, raw []byte) {
		if seq == 0 || seq+1 == 0 {
			return
		}
		e, err := DecodeEvent(raw)
		if err != nil || e.Seq != seq {
			return
		}
		body, err := EncodeBatch(testEpoch, seq, Hash{}, 1, false, [][]byte{raw})
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPage(testEpoch, seq, Hash{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := p.Add(raw); err != nil || !ok {
			t.Fatal(ok, err)
		}
		want, err := DecodeBatch(body)
		if err != nil {
			return // JSON around it changes what it says
		}
		got, err := DecodePage(p.Encode())
		if err != nil {
			t.Fatal(err)
		}
		want.Compact, want.Events[0].Raw = true, nil
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, want %+v", got, want)
		}
	})
}

// manyRevocations are events that were published one by one.
func manyRevocations(t testing.TB, n int) (raws [][]byte) {
	t.Helper()
	for i := range n {
		id := ID{1, 2, 3, 4, 5, 6, 0x70, 0, 0x80}
		binary.BigEndian.PutUint32(id[12:], uint32(i))
		body, err := EncodePayload(TokenRevoked{JTI: id.String()})
		if err != nil {
			t.Fatal(err)
		}
		raws = append(raws, testEvent(t, i, TypeTokenRevoked, body, int64(i)*700))
	}
	return raws
}

func BenchmarkDecodePage(b *testing.B) {
	page := testPage(b, 1, manyRevocations(b, PageEvents))
	b.ReportMetric(float64(len(page))/PageEvents, "B/event")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodePage(page); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/PageEvents, "ns/event")
}

func BenchmarkEncodePage(b *testing.B) {
	raws := manyRevocations(b, PageEvents)
	for b.Loop() {
		testPage(b, 1, raws)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/PageEvents, "ns/event")
}
