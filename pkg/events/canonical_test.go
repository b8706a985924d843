package events

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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

// FuzzTheFastWayReadsWhatTheOtherDoes: whatever is read in one pass is read as encoding/json does; and what authsvc sends of
// revocations is read so.
func FuzzTheFastWayReadsWhatTheOtherDoes(f *testing.F) {
	bulk := bulkMessage(f, 2, 3)
	if _, ok := splitCanonical(bulk); !ok {
		f.Error("a mass revocation isn't read")
	}
	f.Add(bulk)
	f.Add(testBatch(f, false))
	f.Add(testBatch(f, true))
	for _, change := range [][2]string{
		{`"first_seq":1,`, `"first_seq":01,`}, {`"first_seq":1,`, `"first_seq":-0,`}, {`"first_seq":1,`, `"first_seq":2,`},
		{`{"seq":1,`, `{"seq":01,`}, {`{"seq":1,`, `{"seq":-1,`}, {`"floor":1`, `"floor":18446744073709551615`}, {`"floor":1`, `"floor":-1`}, {`"events":[{`, `"events": [{`},
		{`,"keys":true`, `,"keys":false`}, {`"tv":1`, `"tv":-1`}, {`"user_ids":["`, `"user_ids":[],"user_ids":["`}, {`]}`, `]} `}, {`]}`, `]}x`},
		{`"token.revoked"`, `"token\u002erevoked"`}, {`"epoch":"0`, `"epoch":"\u0030`}, {`"until":1`, `"until":0`}, {`"prev":"`, `"prev":"A`},
	} {
		f.Add(bytes.Replace(bulk, []byte(change[0]), []byte(change[1]), 1))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fast, ok := splitCanonical(body)
		if !ok {
			return
		}
		var slow batchMessage
		if err := json.Unmarshal(body, &slow); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if diff := cmp.Diff(slow, fast, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
		for _, raw := range fast.Events {
			fast, ok := decodeCanonical(raw)
			if !ok {
				continue
			}
			slow, err := decodeAny(raw)
			if diff := cmp.Diff(slow, fast); err != nil || diff != "" {
				t.Error(err, diff)
			}
		}
	})
}

// What the feed sends is the decoder's own from then on: the buffer that it came in may be used again.
func TestAnEventKeepsNothingOfTheMessagesBuffer(t *testing.T) {
	body := bulkMessage(t, 1, 2)
	b, err := DecodeBatch(body)
	if err != nil {
		t.Fatal(err)
	}
	before := string(b.Events[0].Raw)
	clear(body)
	if string(b.Events[0].Raw) != before {
		t.Error("the event changed with the buffer")
	}
}
