package events

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bulkMessage is a message of a mass revocation.
func bulkMessage(t testing.TB, events, each int) []byte {
	t.Helper()
	chain := ChainStart("issuer", "01890f3e-0000-7000-8000-000000000000")
	var raws [][]byte
	for seq := uint64(1); seq <= uint64(events); seq++ {
		users := make([]string, each)
		for i := range users {
			var id ID
			rand.Read(id[:])
			users[i] = id.String()
		}
		payload, err := EncodePayload(TokenRevoked{UserIDs: users, TV: 1_700_000_000_000_000, Keys: true})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := EncodeEvent(seq, TypeTokenRevoked, 1_700_000_000_000_000, 1_800_000_000_000_000, payload)
		if err != nil {
			t.Fatal(err)
		}
		raws = append(raws, raw)
	}
	body, err := EncodeBatch("01890f3e-0000-7000-8000-000000000000", 1, chain, 1, false, raws)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func BenchmarkDecodeABulkMessage(b *testing.B) {
	body := bulkMessage(b, 6, 1000)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeBatch(body); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzTheFastWayReadsWhatTheOtherDoes: whatever the fast way reads, it reads as the other does; what authsvc sends of
// revocations it does read.
func FuzzTheFastWayReadsWhatTheOtherDoes(f *testing.F) {
	bulk := bulkMessage(f, 2, 3)
	if _, ok := scanBatch(bulk); !ok {
		f.Error("a mass revocation isn't read")
	}
	f.Add(bulk)
	f.Add(testBatch(f, false))
	f.Add(testBatch(f, true))
	for _, change := range [][2]string{
		{`"first_seq":1,`, `"first_seq":01,`}, {`"first_seq":1,`, `"first_seq":-0,`}, {`"first_seq":1,`, `"first_seq":2,`},
		{`{"seq":1,`, `{"seq":01,`}, {`"floor":1`, `"floor":18446744073709551615`}, {`"floor":1`, `"floor":-1`}, {`"events":[{`, `"events": [{`},
		{`,"keys":true`, `,"keys":false`}, {`"tv":1`, `"tv":-1`}, {`"user_ids":["`, `"user_ids":[],"user_ids":["`}, {`]}`, `]} `}, {`]}`, `]}x`},
		{`"token.revoked"`, `"token\u002erevoked"`}, {`"epoch":"0`, `"epoch":"\u0030`}, {`"until":1`, `"until":0`}, {`"prev":"`, `"prev":"A`},
	} {
		f.Add(bytes.Replace(bulk, []byte(change[0]), []byte(change[1]), 1))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fast, ok := scanBatch(body)
		if !ok {
			return
		}
		slow, err := decodeBatch(body)
		if err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if diff := cmp.Diff(slow, fast); diff != "" {
			t.Error(diff)
		}
	})
}

// What the feed sends is the decoder's own from then on: the buffer that it came in may be used again.
func TestTheFastWayKeepsNothingOfTheBody(t *testing.T) {
	body := bulkMessage(t, 1, 2)
	b, ok := scanBatch(body)
	if !ok {
		t.Fatal("not read")
	}
	before := string(b.Events[0].Raw)
	clear(body)
	if string(b.Events[0].Raw) != before {
		t.Error("the event changed with the buffer")
	}
}

func TestTheFastWayAllocatesOnceForAnID(t *testing.T) {
	body := bulkMessage(t, 6, 1000)
	fast := testing.AllocsPerRun(3, func() {
		if _, ok := scanBatch(body); !ok {
			t.Fatal("not read")
		}
	})
	if ids := 6000.0; fast > 1.01*ids+50 {
		t.Errorf("%.0f allocations for %.0f ids", fast, ids)
	}
}
