package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tocsin-auth/tocsin/authsvc/internal/auth"
)

// Wait says how far a call that narrows trust waits for its events to travel.
type Wait string

// The waits of the contract.
const (
	WaitNone      Wait = "none"
	WaitPublished Wait = "published"
	WaitFleet     Wait = "fleet"
)

// maxWait is the longest time that a call may ask to wait.
const maxWait = 30 * time.Second

// Receipts tells how far events have travelled.
type Receipts interface {
	// Expect announces, before the change is made, how its receipt will wait. The returned function ends that.
	Expect(wait Wait) (done func())
	// Receipt waits until the events have travelled as far as wait says, or the timeout or the context ends, which
	// is no error.
	Receipt(ctx context.Context, eventIDs []string, wait Wait, timeout time.Duration) (Receipt, error)
}

// Receipt is the contract's; the greatest seq when a call made several events.
type Receipt struct {
	EventID   *string `json:"event_id" nullable:"true" doc:"null: nothing changed"`
	Epoch     *string `json:"epoch" nullable:"true"`
	Seq       *uint64 `json:"seq" nullable:"true" doc:"null: not numbered yet"`
	Published bool    `json:"published" doc:"Sent to the live feed and stored in the stream. The promise holds either way."`
	Fleet     *Fleet  `json:"fleet,omitempty" doc:"Only with wait=fleet"`
	ElapsedMS float64 `json:"elapsed_ms"`
}

// Fleet counts the verifiers that could still be fresh without knowing the event.
type Fleet struct {
	Applied  int       `json:"applied"`
	Total    *int      `json:"total" nullable:"true" doc:"null: not known yet, shortly after a start"`
	Laggards []Laggard `json:"laggards"`
}

// Laggard is a verifier that hasn't applied the event.
type Laggard struct {
	Service  string `json:"service"`
	Instance string `json:"instance"`
}

// WaitQuery are the parameters of every call that narrows trust. Like all types that others embed it is exported, because
// huma passes over embedded types that are not.
type WaitQuery struct {
	Wait    string `query:"wait" enum:"none,published,fleet" default:"published" doc:"How far the change must have travelled before the call returns"`
	Timeout string `query:"timeout" default:"2s" maxLength:"16" doc:"How long to wait for that, at most 30s; a time-out shows in the receipt and nowhere else"`
}

// waitFromQuery reads what huma reads for calls of /v1, by the same schema.
func (s *Server) waitFromQuery(query url.Values) (WaitQuery, error) {
	values := map[string]string{}
	for _, p := range s.waitParameters {
		value := query.Get(p.Name)
		if value == "" {
			value, _ = p.Schema.Default.(string)
		}
		var result huma.ValidateResult
		huma.Validate(s.api.OpenAPI().Components.Schemas, p.Schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, value, &result)
		if len(result.Errors) > 0 {
			return WaitQuery{}, oauthInvalid(p.Name + ": " + fieldError(result.Errors[0]).Message)
		}
		values[p.Name] = value
	}
	return WaitQuery{Wait: values["wait"], Timeout: values["timeout"]}, nil
}

// limit reads the timeout. It is called before the change, so that a refused call changes nothing.
func (q WaitQuery) limit() (time.Duration, error) {
	d, err := time.ParseDuration(q.Timeout)
	if err != nil || d < 0 || d > maxWait {
		return 0, invalidField("timeout", "must be a duration from 0s to 30s, such as 2s")
	}
	return d, nil
}

// ReceiptHeader is the part of an output that carries the receipt.
type ReceiptHeader struct {
	Receipt string `header:"Tocsin-Receipt" doc:"Receipt as JSON"`
}

// narrow runs a change and returns its receipt. The change is durable when do returns: whatever happens to the receipt,
// the call has succeeded.
func (s *Server) narrow(ctx context.Context, q WaitQuery, do func() (auth.Change, error)) (Receipt, ReceiptHeader, error) {
	start := time.Now()
	timeout, err := q.limit()
	if err != nil {
		return Receipt{}, ReceiptHeader{}, err
	}
	defer s.receipts.Expect(Wait(q.Wait))()
	change, err := do()
	if err != nil {
		return Receipt{}, ReceiptHeader{}, err
	}
	receipt := s.receipt(ctx, change, Wait(q.Wait), timeout)
	receipt.ElapsedMS = float64(time.Since(start).Microseconds()) / 1000
	return receipt, ReceiptHeader{Receipt: receipt.header()}, nil
}

// receipt answers for the events of the change or, when nothing changed, for the earlier one that says the same: it is
// not repeated as this call's event, but its way through the fleet is what the caller wants to know.
func (s *Server) receipt(ctx context.Context, change auth.Change, wait Wait, timeout time.Duration) Receipt {
	ids := change.EventIDs
	if !change.Changed() {
		ids = change.Earlier
	}
	if len(ids) == 0 {
		timeout = 0 // nothing travels
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.waits, cancel)()
	receipt, err := s.receipts.Receipt(ctx, ids, wait, timeout)
	if err != nil {
		s.log.WarnContext(ctx, "receipt failed; the change is durable", "request_id", requestID(ctx), "error", err)
		receipt = Receipt{}
		if len(ids) > 0 {
			receipt.EventID = &ids[len(ids)-1]
		}
	}
	if !change.Changed() {
		receipt.EventID = nil
	}
	if f := receipt.Fleet; f != nil && len(ids) == 0 {
		f.Laggards = []Laggard{}
		if f.Total != nil {
			f.Applied = *f.Total
		}
	}
	return receipt
}

// maxLaggards bounds what the header names, since clients bound headers; the body of the revocation calls has all.
const maxLaggards = 16

// header is the receipt as one line of ASCII.
func (r Receipt) header() string {
	if r.Fleet != nil && len(r.Fleet.Laggards) > maxLaggards {
		fleet := *r.Fleet
		fleet.Laggards = fleet.Laggards[:maxLaggards]
		r.Fleet = &fleet
	}
	text, err := json.Marshal(r)
	if err != nil {
		return "" // numbers and strings: it can't fail
	}
	return ascii(text)
}

func ascii(text []byte) string {
	var b bytes.Buffer
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r < utf8.RuneSelf:
			b.WriteByte(byte(r))
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		text = text[size:]
	}
	return b.String()
}

// invalidField refuses one input that the schema can't describe.
func invalidField(field, rule string) error {
	return &auth.Error{Code: auth.CodeInvalidRequest, Field: field, Message: rule}
}
