package events

import (
	"errors"
	"strings"
	"testing"
)

func TestTheMessageOfUsedKeysKeepsItsBytes(t *testing.T) {
	golden(t, "used", "", mustJSON(t, Used{Keys: []UsedKey{{KeyID: idA}, {KeyID: idB, Ago: 59}}}))
}

func TestAFullMessageOfUsedKeysIsRead(t *testing.T) {
	full := Used{Keys: make([]UsedKey, MaxUsedKeys)}
	for i := range full.Keys {
		full.Keys[i] = UsedKey{KeyID: idA, Ago: MaxUsedAgo}
	}
	if got, err := DecodeUsed(mustJSON(t, full)); err != nil || len(got.Keys) != MaxUsedKeys {
		t.Errorf("%d keys, %v", len(got.Keys), err)
	}
}

func TestAMessageOfUsedKeysIsCheckedWhole(t *testing.T) {
	many := Used{Keys: make([]UsedKey, MaxUsedKeys+1)}
	for i := range many.Keys {
		many.Keys[i].KeyID = idA
	}
	for name, body := range map[string]string{
		"nothing": "", "no JSON": "{", "no keys": `{}`, "empty": `{"keys":[]}`, "too many": string(mustJSON(t, many)),
		"no id": `{"keys":[{"ago_s":1}]}`, "bad id": `{"keys":[{"key_id":"x"}]}`, "upper case": `{"keys":[{"key_id":"` + strings.ToUpper(idA) + `"}]}`,
		"the future": `{"keys":[{"key_id":"` + idA + `","ago_s":-1}]}`, "long ago": `{"keys":[{"key_id":"` + idA + `","ago_s":86401}]}`,
		"no number": `{"keys":[{"key_id":"` + idA + `","ago_s":"1"}]}`, "one bad": `{"keys":[{"key_id":"` + idA + `"},{"key_id":""}]}`,
		"too long": `{"keys":[{"key_id":"` + idA + `"}],"more":"` + strings.Repeat("x", MaxUsed) + `"}`,
	} {
		if _, err := DecodeUsed([]byte(body)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeUsed(f *testing.F) {
	f.Add(mustJSON(f, Used{Keys: []UsedKey{{KeyID: idA, Ago: 7}}}))
	f.Add([]byte(`{"keys":[{}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		u, err := DecodeUsed(body)
		if err != nil {
			return
		}
		again, err := DecodeUsed(mustJSON(t, u))
		if err != nil || len(again.Keys) != len(u.Keys) || again.Keys[0] != u.Keys[0] {
			t.Errorf("%+v became %+v: %v", u, again, err)
		}
	})
}
