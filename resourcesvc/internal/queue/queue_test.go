package queue

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

func TestEachJobHasASubjectOfItsOwn(t *testing.T) {
	seen := map[string]Message{}
	valid := regexp.MustCompile(`^jobs\.[0-9a-f-]+\.[0-9a-f]{32}$`)
	for _, m := range []Message{{"0198-a", "j"}, {"0198-b", "j"}, {"0198-a", "*"}, {"0198-a", ">"}, {"0198-a", "j.k"}, {"0198-a", "j k"}, {"0198-a", strings.Repeat("ü", 256)}} {
		if other, taken := seen[m.subject()]; taken || !valid.MatchString(m.subject()) {
			t.Errorf("%v: %s, %v", m, m.subject(), other)
		}
		seen[m.subject()] = m
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"user_id":"u","job_id":"j"}`))
	f.Add([]byte(`{"user_id":"u","job_id":""}`))
	f.Add([]byte(`{"user_id":7}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Decode(body)
		if err != nil {
			return
		}
		again, err := json.Marshal(m)
		if err != nil || !isText(m.UserID) || !isText(m.JobID) {
			t.Fatalf("%+v: %v", m, err)
		}
		if got, err := Decode(again); len(again) <= maxMessage && (err != nil || got != m) {
			t.Errorf("%s was not read back: %+v, %v", again, got, err)
		}
	})
}
