package strictjson

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestAcceptsOrdinaryRequests(t *testing.T) {
	for _, text := range []string{`{}`, `[]`, `"x"`, ` {"a":{"b":[1,2,{"c":false}]},"A":1} `, `{"a":"\ud83d\ude00 \\u"}`, `{"é":"\u00e9"}`} {
		if err := Check([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestRefusesWhatReadersUnderstandDifferently(t *testing.T) {
	for _, test := range []struct{ text, field string }{
		{`{"a":1,"a":2}`, "a"},
		{`{"a":1,"\u0061":2}`, "a"},
		{`{"a":[{"b":1,"b":1}]}`, "a[0].b"},
		{`{"a b":1,"a b":1}`, ""},
		{`{"` + strings.Repeat("x", 100) + `":"` + "\\u0000" + `"}`, ""},
		{`{"a":"x\u0000y"}`, "a"},
		{`{"a":"\ud800"}`, ""},
		{`{"a":"\ud800\u0041"}`, ""},
		{`{"a":"\udc00"}`, ""},
		{`{"a":1e999}`, "a"},
		{`{"a":1}{}`, ""},
		{`{"a":1} x`, ""},
		{`{"a":1,}`, ""},
		{`{'a':1}`, ""},
		{`{"a":NaN}`, ""},
		{`{"a":01}`, ""},
		{`null`, ""},
		{`{"a":{"b":null}}`, "a.b"},
		{`{"a":["x",null]}`, "a[1]"},
		{"{\"a\":\"\xff\"}", ""},
		{"\xef\xbb\xbf{}", ""},
		{``, ""},
		{strings.Repeat(`[`, 20) + strings.Repeat(`]`, 20), ""},
	} {
		var refusal *Error
		if err := Check([]byte(test.text)); !errors.As(err, &refusal) {
			t.Errorf("%q: %v", test.text, err)
		} else if refusal.Field != test.field {
			t.Errorf("%q: field %q, want %q", test.text, refusal.Field, test.field)
		}
	}
}

// What Check accepts has one meaning: decoding, encoding and decoding again gives the same, and no name is lost.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{`{"a":1,"a":2}`, `{"a":"\ud83d\ude00"}`, `[{"b":[]}]`, `{"":0,"":1}`, `"\u0000"`, `{"a":"\\ud800"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := Check(data); err != nil {
			var refusal *Error
			if !errors.As(err, &refusal) || Shown(refusal.Field) != refusal.Field {
				t.Fatalf("%q: %v", data, err)
			}
			return
		}
		var first, second any
		if err := json.Unmarshal(data, &first); err != nil {
			t.Fatalf("accepted %q: %v", data, err)
		}
		again, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(again, &second); err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("%q means two things", data)
		}
		if strings.Contains(string(again), `\u0000`) && !strings.Contains(string(again), `\\u0000`) {
			t.Fatalf("%q holds NUL", data)
		}
	})
}
