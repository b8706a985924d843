package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const quotaNonce = "000102030405060708090a0b0c0d0e0f"

func TestQuotaMessagesKeepTheirBytes(t *testing.T) {
	request := mustJSON(t, QuotaRequest{Nonce: quotaNonce, StartNonce: quotaNonce, Seq: 7, Entries: []QuotaEntry{
		{Subject: idA, Resource: "requests", Term: at, Spent: 12, Want: 5},
		{Subject: idB, Resource: "ai-jobs", Take: true},
	}})
	golden(t, "quota_request", "", request)
	golden(t, "quota_request_test", "", mustJSON(t, QuotaRequest{Nonce: quotaNonce, StartNonce: quotaNonce, Seq: 7, Test: true, Entries: []QuotaEntry{
		{Subject: idA, Resource: "requests", Want: 5}}}))
	golden(t, "quota_answer", KindQuota, mustJSON(t, QuotaAnswer{Nonce: quotaNonce, Request: HashOf(request), Now: at - 30_000_000, Grants: []QuotaGrant{
		{Term: at, EndsIn: 30_000_000, Allowed: 17, Limits: []QuotaLimit{{Limit: 100, Window: 60, Left: 80, EndsIn: 30_000_000}}},
		{Term: at, EndsIn: 30_000_000, Allowed: 1, Taken: true, Limits: []QuotaLimit{{Limit: 1, Window: 3600, EndsIn: 60_000_000}}},
	}}))
	golden(t, "quota_answer_unlimited", KindQuota, mustJSON(t, QuotaAnswer{Nonce: quotaNonce, Request: HashOf(request), Now: at,
		Grants: []QuotaGrant{{EndsIn: 10_000_000}, {EndsIn: 10_000_000}}}))
	golden(t, "quota_answer_busy", KindQuota, mustJSON(t, QuotaAnswer{Request: HashOf(request), Busy: true}))
	golden(t, "quota_answer_busy_entry", KindQuota, mustJSON(t, QuotaAnswer{Nonce: quotaNonce, Request: HashOf(request), Now: at, Grants: []QuotaGrant{
		{EndsIn: 10_000_000},
		{Term: at, EndsIn: 30_000_000, Busy: true, Limits: []QuotaLimit{{Limit: 100, Window: 60, Left: 80, EndsIn: 30_000_000}}},
	}}))
}

// TestAskersOfBeforeFindNoAllowanceInWhatIsBusy: they don't know the field.
func TestAskersOfBeforeFindNoAllowanceInWhatIsBusy(t *testing.T) {
	read := func(name string) (grants []struct {
		Term, Allowed int64
		Taken         bool
	}) {
		whole, err := os.ReadFile(filepath.Join("testdata", name+".golden"))
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := bytes.Cut(whole, []byte("\n\n"))
		var a struct {
			Grants []struct {
				Term, Allowed int64
				Taken         bool
			}
		}
		if err := json.Unmarshal(body, &a); err != nil {
			t.Fatal(err)
		}
		return a.Grants
	}
	if grants := read("quota_answer_busy"); len(grants) != 0 { // fewer than entries: no answer
		t.Errorf("%+v", grants)
	}
	if g := read("quota_answer_busy_entry")[1]; g.Term == 0 || g.Allowed != 0 || g.Taken { // without a term there would be no limit
		t.Errorf("%+v", g)
	}
}

func TestABusyAnswerHasNoGrants(t *testing.T) {
	for name, c := range map[string]struct {
		answer  QuotaAnswer
		entries int
		good    bool
	}{
		"busy":            {QuotaAnswer{Busy: true}, 1, true},
		"busy, granting":  {QuotaAnswer{Busy: true, Grants: []QuotaGrant{{EndsIn: 1}}}, 1, false},
		"entry":           {QuotaAnswer{Grants: []QuotaGrant{{Term: at, Busy: true}}}, 1, true},
		"entry, allowing": {QuotaAnswer{Grants: []QuotaGrant{{Term: at, Busy: true, Allowed: 1}}}, 1, false},
		"entry, taken":    {QuotaAnswer{Grants: []QuotaGrant{{Term: at, Busy: true, Taken: true}}}, 1, false},
		"no grant":        {QuotaAnswer{}, 1, false},
	} {
		if _, err := DecodeQuotaAnswer(mustJSON(t, c.answer), c.entries); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// largestQuota is as large as a question and its answer can be.
func largestQuota() (QuotaRequest, QuotaAnswer) {
	r := QuotaRequest{Nonce: quotaNonce, StartNonce: quotaNonce, Seq: 1<<63 - 1}
	a := QuotaAnswer{Nonce: quotaNonce, Request: HashOf(nil), Now: 1 << 62}
	limit := QuotaLimit{Limit: MaxQuotaCount, Window: 31 * 86400, Left: MaxQuotaCount, EndsIn: 31 * 86400 * 1_000_000}
	for range MaxQuotaEntries {
		r.Entries = append(r.Entries, QuotaEntry{Subject: idA, Resource: strings.Repeat("r", 32), Term: 1<<63 - 1,
			Spent: MaxQuotaCount, Want: MaxQuotaCount, Take: true})
		a.Grants = append(a.Grants, QuotaGrant{Term: 1<<63 - 1, EndsIn: limit.EndsIn, Allowed: 1<<63 - 1, Taken: true,
			Limits: []QuotaLimit{limit, limit, limit, limit}})
	}
	return r, a
}

func TestTheLargestQuotaMessagesAreRead(t *testing.T) {
	r, a := largestQuota()
	if _, err := DecodeQuotaRequest(mustJSON(t, r)); err != nil {
		t.Error(err)
	}
	if _, err := DecodeQuotaAnswer(mustJSON(t, a), MaxQuotaEntries); err != nil {
		t.Error(err)
	}
	r.Entries = append(r.Entries, r.Entries[0])
	if _, err := DecodeQuotaRequest(mustJSON(t, r)); !errors.Is(err, ErrInvalid) {
		t.Errorf("65 entries: %v", err)
	}
	if _, err := DecodeQuotaAnswer(mustJSON(t, a), MaxQuotaEntries-1); !errors.Is(err, ErrInvalid) {
		t.Errorf("a grant too many: %v", err)
	}
}

func TestEveryFieldOfAQuotaQuestionIsChecked(t *testing.T) {
	for name, change := range map[string]func(r *QuotaRequest, e *QuotaEntry){
		"nonce":             func(r *QuotaRequest, _ *QuotaEntry) { r.Nonce = "x" },
		"start_nonce":       func(r *QuotaRequest, _ *QuotaEntry) { r.StartNonce = strings.ToUpper(quotaNonce) },
		"seq":               func(r *QuotaRequest, _ *QuotaEntry) { r.Seq = 0 },
		"seq beyond":        func(r *QuotaRequest, _ *QuotaEntry) { r.Seq = 1 << 63 },
		"entries":           func(r *QuotaRequest, _ *QuotaEntry) { r.Entries = nil },
		"sub":               func(_ *QuotaRequest, e *QuotaEntry) { e.Subject = "" },
		"sub that is no id": func(_ *QuotaRequest, e *QuotaEntry) { e.Subject = "ada" },
		"resource":          func(_ *QuotaRequest, e *QuotaEntry) { e.Resource = "a.b" },
		"term":              func(_ *QuotaRequest, e *QuotaEntry) { e.Term = -1 },
		"spent":             func(_ *QuotaRequest, e *QuotaEntry) { e.Spent = MaxQuotaCount + 1 },
		"spent, negative":   func(_ *QuotaRequest, e *QuotaEntry) { e.Spent = -1 },
		"spent in no term":  func(_ *QuotaRequest, e *QuotaEntry) { e.Term = 0 },
		"want":              func(_ *QuotaRequest, e *QuotaEntry) { e.Want = MaxQuotaCount + 1 },
		"want, negative":    func(_ *QuotaRequest, e *QuotaEntry) { e.Want = -1 },
	} {
		r := QuotaRequest{Nonce: quotaNonce, StartNonce: quotaNonce, Seq: 1, Entries: []QuotaEntry{
			{Subject: idA, Resource: "requests", Term: at, Spent: 1, Want: 1}}}
		if _, err := DecodeQuotaRequest(mustJSON(t, r)); err != nil {
			t.Fatal(err)
		}
		change(&r, &r.Entries[0])
		if _, err := DecodeQuotaRequest(mustJSON(t, r)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestEveryFieldOfAQuotaGrantIsChecked(t *testing.T) {
	const tooLong = 40 * 86400 * 1_000_000
	for name, change := range map[string]func(g *QuotaGrant){
		"term":               func(g *QuotaGrant) { g.Term = -1 },
		"ends_in":            func(g *QuotaGrant) { g.EndsIn = -1 },
		"ends_in too far":    func(g *QuotaGrant) { g.EndsIn = tooLong },
		"allowed":            func(g *QuotaGrant) { g.Allowed = -1 },
		"limits":             func(g *QuotaGrant) { g.Limits = make([]QuotaLimit, 5) },
		"limit":              func(g *QuotaGrant) { g.Limits[0].Limit = -1 },
		"left":               func(g *QuotaGrant) { g.Limits[0].Left = -1 },
		"window":             func(g *QuotaGrant) { g.Limits[0].Window = 0 },
		"window too long":    func(g *QuotaGrant) { g.Limits[0].Window = tooLong },
		"window's end":       func(g *QuotaGrant) { g.Limits[0].EndsIn = -1 },
		"window's end, late": func(g *QuotaGrant) { g.Limits[0].EndsIn = tooLong },
	} {
		g := QuotaGrant{Term: at, Allowed: 1, Limits: []QuotaLimit{{Limit: 1, Window: 1}}}
		change(&g)
		if _, err := DecodeQuotaAnswer(mustJSON(t, QuotaAnswer{Grants: []QuotaGrant{g}}), 1); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DecodeQuotaAnswer(bytes.Repeat([]byte(" "), maxQuotaAnswer+1), 1); !errors.Is(err, ErrInvalid) {
		t.Errorf("too large: %v", err)
	}
}

// What is read is within its bounds, and is read the same when it is written again.
func FuzzDecodeQuota(f *testing.F) {
	r, a := largestQuota()
	r.Entries, a.Grants = r.Entries[:1], a.Grants[:1]
	f.Add(mustJSON(f, r))
	f.Add(mustJSON(f, a))
	f.Add(mustJSON(f, QuotaAnswer{Busy: true}))
	f.Add([]byte(fmt.Sprintf(`{"nonce":%q,"start_nonce":%q,"seq":1,"entries":[{"sub":%q,"resource":"r","want":1e3}]}`, quotaNonce, quotaNonce, idA)))
	f.Fuzz(func(t *testing.T, body []byte) {
		if r, err := DecodeQuotaRequest(body); err == nil {
			again, err := DecodeQuotaRequest(mustJSON(t, r))
			if err != nil || !bytes.Equal(mustJSON(t, r), mustJSON(t, again)) {
				t.Errorf("a question didn't survive: %v", err)
			}
			for _, e := range r.Entries {
				if e.Spent+e.Want < 0 || e.Spent+e.Want > 2*MaxQuotaCount || !ValidService(e.Resource) {
					t.Errorf("entry %+v", e)
				}
			}
		}
		var grants struct{ Grants []json.RawMessage }
		_ = json.Unmarshal(body, &grants)
		if a, err := DecodeQuotaAnswer(body, len(grants.Grants)); err == nil {
			again, err := DecodeQuotaAnswer(mustJSON(t, a), len(a.Grants))
			if err != nil || !bytes.Equal(mustJSON(t, a), mustJSON(t, again)) {
				t.Errorf("an answer didn't survive: %v", err)
			}
		}
	})
}
