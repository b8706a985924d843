package events

import (
	"encoding/json"
	"fmt"
	"math"
)

// Limits of one quota question.
const (
	// MaxQuotaEntries bounds how many users and resources one question may be about.
	MaxQuotaEntries = 64
	// MaxQuotaWindows bounds the limits that a plan may set for one resource.
	MaxQuotaWindows = 4
	// MaxQuotaCount bounds what is counted: more than anybody spends, and sums of it don't overflow.
	MaxQuotaCount = 1 << 40
	// maxQuotaAnswer is room for so many grants with all their limits.
	maxQuotaAnswer = 64 << 10
)

// QuotaRequest tells what one instance of a service has spent of its users' quotas, and asks how much more it may. It may be
// lost, repeated or overtaken by a later one without harm: what it tells are totals, and Seq orders the questions of an instance.
//
// An answer's grant for an entry counts only while the instance hasn't asked about that user and resource again: a later
// question has told authsvc what the instance goes by, and a grant that comes after it MUST be ignored, Taken too.
type QuotaRequest struct {
	Nonce string `json:"nonce"`
	// StartNonce is drawn once a start of the process: who holds the allowances.
	StartNonce string `json:"start_nonce"`
	Seq        uint64 `json:"seq"`
	// Test: the entries are of test traffic, which is counted apart from live traffic, with the same limits.
	Test    bool         `json:"test,omitempty"`
	Entries []QuotaEntry `json:"entries"`
}

// QuotaEntry is about one user and one resource. Within a term totals only grow. A term ends when one of the windows of the plan's limits
// does, or one begins because the plan has changed.
//
// An instance MUST NOT forget an entry before it has told what it has spent. When it asks again, with Term 0, what it was allowed
// before stays counted unless it had asked for nothing more (Want 0), so it SHOULD give back before it forgets.
type QuotaEntry struct {
	Subject  string `json:"sub"`
	Resource string `json:"resource"`
	// Term is that of the last grant, or 0 before the first one.
	Term int64 `json:"term,omitempty"`
	// Spent is how many requests the instance has accepted in that term, those that were taken for it included.
	Spent int64 `json:"spent,omitempty"`
	// Want is how many more it would like to be allowed. From when it sends this, the instance MUST NOT accept more than
	// Spent + Want in this term until an answer counts, to this question or a later one: what it was allowed beyond that may be
	// somebody else's by then, also when the answer is lost.
	Want int64 `json:"want"`
	// Take asks for one request to be decided now, by what everybody has spent, besides the allowance: the exact mode. When
	// its answer is lost, one more may be counted than was accepted, never one less.
	Take bool `json:"take,omitempty"`
}

// QuotaAnswer is signed. Its grants stand in the order of the question's entries.
type QuotaAnswer struct {
	Nonce   string       `json:"nonce,omitempty"`
	Request Hash         `json:"request"`
	Grants  []QuotaGrant `json:"grants,omitempty"`
	Now     int64        `json:"now,omitempty"`
	// Busy: authsvc is there, and has more to do for the service than its share: nothing was counted, and the rest but Request is empty. The
	// instance MUST NOT take this for an authsvc that is away, and SHOULD ask again later. Askers that don't know the field find no
	// grants, and so no answer.
	Busy bool `json:"busy,omitempty"`
}

// QuotaGrant is what an instance may spend.
type QuotaGrant struct {
	// Term names the term that the grant is for: no two of a user, a resource and a mode have the same, and later ones are greater. 0: the
	// user's plan sets no limit on the resource. When it isn't the question's, the count begins anew, with what the instance has accepted since it
	// sent the question, or 0: what it had accepted until then is counted in the old term.
	Term int64 `json:"term,omitempty"`
	// EndsIn is for how long the grant holds, in microseconds from when the question was sent.
	EndsIn int64 `json:"ends_in"`
	// Allowed is how many requests the instance may accept in the term in all, those that it has accepted included.
	Allowed int64 `json:"allowed,omitempty"`
	// Taken answers Take.
	Taken bool `json:"taken,omitempty"`
	// Busy: of this entry nothing was counted and nothing is allowed, because the service has too many instances, or they have become known
	// to too many accounts of late. As in [QuotaAnswer]; what else the grant says is for askers that don't know the field, who
	// find that they are allowed nothing.
	Busy   bool         `json:"busy,omitempty"`
	Limits []QuotaLimit `json:"limits,omitempty"`
}

// QuotaLimit is one limit of the user's plan, for people: what the headers RateLimit and RateLimit-Policy say.
type QuotaLimit struct {
	Limit  int64 `json:"limit"`
	Window int64 `json:"window"` // in seconds
	// Left is what nobody has spent or holds an allowance for, the asking instance's own not counted against it.
	Left   int64 `json:"left"`
	EndsIn int64 `json:"ends_in"` // of the window, in microseconds
}

// DecodeQuotaRequest reads an unsigned question and checks every field.
func DecodeQuotaRequest(body []byte) (QuotaRequest, error) {
	var r QuotaRequest
	if err := decodeRequest(body, &r); err != nil {
		return r, err
	}
	switch {
	case !ValidNonce(r.Nonce):
		return r, fmt.Errorf("%w: nonce", ErrInvalid)
	case !ValidNonce(r.StartNonce):
		return r, fmt.Errorf("%w: start_nonce", ErrInvalid)
	case r.Seq == 0 || r.Seq > math.MaxInt64:
		return r, fmt.Errorf("%w: seq", ErrInvalid)
	case len(r.Entries) == 0 || len(r.Entries) > MaxQuotaEntries:
		return r, fmt.Errorf("%w: %d entries", ErrInvalid, len(r.Entries))
	}
	for _, e := range r.Entries {
		if err := e.validate(); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (e QuotaEntry) validate() error {
	switch {
	case !ValidService(e.Resource): // the same form
		return fmt.Errorf("%w: resource", ErrInvalid)
	case e.Term < 0 || e.Spent < 0 || e.Spent > MaxQuotaCount || e.Want < 0 || e.Want > MaxQuotaCount || e.Term == 0 && e.Spent > 0:
		return fmt.Errorf("%w: term, spent or want", ErrInvalid)
	}
	if e.Subject == "" {
		return fmt.Errorf("%w: sub", ErrInvalid)
	}
	return validIDs(e.Subject)
}

// DecodeQuotaAnswer reads an answer whose signature was verified, to a question with so many entries. One that is Busy has no grants.
func DecodeQuotaAnswer(body []byte, entries int) (QuotaAnswer, error) {
	var a QuotaAnswer
	if len(body) > maxQuotaAnswer {
		return a, fmt.Errorf("%w: %d bytes", ErrInvalid, len(body))
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return a, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if a.Busy {
		entries = 0
	}
	if len(a.Grants) != entries {
		return a, fmt.Errorf("%w: %d grants for %d entries", ErrInvalid, len(a.Grants), entries)
	}
	for _, g := range a.Grants {
		if err := g.validate(); err != nil {
			return a, err
		}
	}
	return a, nil
}

func (g QuotaGrant) validate() error {
	const longest = 32 * 86400 * 1_000_000 // more than any window, and far from what a duration can hold
	if g.Term < 0 || g.EndsIn < 0 || g.EndsIn > longest || g.Allowed < 0 || len(g.Limits) > MaxQuotaWindows || g.Busy && (g.Allowed > 0 || g.Taken) {
		return fmt.Errorf("%w: grant", ErrInvalid)
	}
	for _, l := range g.Limits {
		if l.Limit < 0 || l.Left < 0 || l.Window <= 0 || l.Window > longest/1_000_000 || l.EndsIn < 0 || l.EndsIn > longest {
			return fmt.Errorf("%w: limit", ErrInvalid)
		}
	}
	return nil
}
