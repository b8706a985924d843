package faults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sync"
	"time"
)

// Span is when something began and ended, by the harness's monotonic clock since the start of the run. A call is
// begun before its first byte is sent and has ended when its answer was read.
type Span struct {
	Begin, End time.Duration
}

func (s Span) String() string {
	return fmt.Sprintf("[%.3fs %.3fs]", s.Begin.Seconds(), s.End.Seconds())
}

// Issue is a credential coming into being; it is good from End on.
type Issue struct {
	Span
	Credential, User string
	Key              bool // an API key, else an access token
	Short            bool `json:",omitempty"` // it may expire during the run
	// Of a token that was derived: how; who acts, if that is another than the user; and how long it lives, by the
	// database's clock.
	Derived string        `json:",omitempty"`
	Actor   string        `json:",omitempty"`
	Life    time.Duration `json:",omitempty"`
}

// Clock is a wall clock being set: from End on it is ahead of this machine's by so much. Before the first time it is right.
type Clock struct {
	Span
	Name  string
	Ahead time.Duration
}

// Call is a use of a credential at a resource service.
type Call struct {
	Span
	Instance, Credential string
	Elite                bool
	Quota                string `json:",omitempty"` // the resource of which it spends one; empty: the route has no quota
	Status               int    // 0: no answer
	Code                 string `json:",omitempty"`
	Role                 int    // of an accepted call: the number of the user's last role change that it showed
}

// notShown is the Role of an accepted call that tells nothing about roles: newer than every change.
const notShown = math.MaxInt32

// Accepted reports whether the service let the caller in.
func (c Call) Accepted() bool { return c.Status == 200 }

// Refused reports whether the service said that the credential is bad.
func (c Call) Refused() bool { return c.Status == 401 }

// LongAnswer is a use of a credential for an event stream or a long poll, until it ended or the client hung up. Its
// reader reads at once whatever comes.
type LongAnswer struct {
	Span
	Instance, Credential string
	Poll                 bool
	Status               int    // 0: no answer
	Code                 string `json:",omitempty"`
	Pieces               []Piece
	HungUp               bool `json:",omitempty"` // the client had enough
}

// Piece is a part of a long answer. What it tells was made by this process at Made, so it was sent after that, whatever
// lay between and however late it was read.
type Piece struct{ Made, Read time.Duration }

// Outcome is what the caller of a change knows about it.
type Outcome string

// The outcomes. A change of unknown outcome may have happened, may happen later, or never.
const (
	Done    Outcome = "done"
	Failed  Outcome = "failed" // surely nothing was changed
	Unknown Outcome = "unknown"
)

// Change is a call of authsvc that ends, narrows or gives back trust.
type Change struct {
	Span
	Name, Replica string
	Outcome       Outcome
	Status        int
	User          string   `json:",omitempty"` // whose trust it is; empty: everybody's
	Kills         []string `json:",omitempty"` // credentials that it ends for good
	Suspends      []string `json:",omitempty"`
	Revives       []string `json:",omitempty"`
	AllTokens     bool     `json:",omitempty"` // it ends every token issued before it
	AllKeys       bool     `json:",omitempty"`
	Role          int      `json:",omitempty"` // the number of a role change, greater than all before
	Fleet         *Fleet   `json:",omitempty"`
}

// Fleet is what a receipt says about the instances.
type Fleet struct {
	Applied  int
	Total    *int
	Laggards []string
}

// Fault is something that was done to the system, from its start until the system was whole again.
type Fault struct {
	Span
	Kind, Name string
	// Spared: the system has to live with it without refusing anybody.
	Spared bool `json:",omitempty"`
	// Down are the instances that were ended by it: they accept nothing until they are ready again.
	Down []string `json:",omitempty"`
	// Frozen are the instances that stood still during it.
	Frozen []string `json:",omitempty"`
	// Leapt are the instances whose wall clock leapt so far ahead that their freshness may have ended with it.
	Leapt []string `json:",omitempty"`
	// Apart are the instances that couldn't reach the bus until Healed.
	Apart  []string      `json:",omitempty"`
	Healed time.Duration `json:",omitempty"`
	// Waiting are the events that were committed and not published yet when every authsvc had been killed.
	Waiting Waiting `json:",omitzero"`
}

// Waiting are events by how far they had come.
type Waiting struct {
	Unnumbered  int // committed
	Unpublished int // numbered, and not known to be published
}

// Start is a start of a resource service; End is when it said that it is ready.
type Start struct {
	Span
	Instance string
}

// Sample is what a resource service said of its own freshness.
type Sample struct {
	Span
	Instance string
	Fresh    bool
	Age      time.Duration // since the last proof was asked for
	// Uncounted are the requests that it has accepted, since it was started, beyond what it was allowed of quotas.
	Uncounted int `json:",omitempty"`
}

// Sweep is when everything was healed and every credential was tried everywhere.
type Sweep struct{ Span }

// History is everything that happened in a run.
type History struct {
	Bound   time.Duration
	Epoch   time.Duration // this machine's wall clock, since 1970, when the run began
	Meters  []Meter
	Issues  []Issue
	Calls   []Call
	Long    []LongAnswer
	Changes []Change
	Faults  []Fault
	Starts  []Start
	Clocks  []Clock
	Samples []Sample
	Sweep   Sweep
}

// Recorder collects a history. It is safe for concurrent use.
type Recorder struct {
	start time.Time
	mu    sync.Mutex
	h     History
}

// NewRecorder starts the clock.
func NewRecorder(bound time.Duration) *Recorder {
	now := time.Now()
	return &Recorder{start: now, h: History{Bound: bound, Epoch: time.Duration(now.UnixNano())}}
}

// Now reads the clock.
func (r *Recorder) Now() time.Duration { return time.Since(r.start) }

// Add records something that has ended.
func (r *Recorder) Add(entry any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e := entry.(type) {
	case Issue:
		r.h.Issues = append(r.h.Issues, e)
	case Call:
		r.h.Calls = append(r.h.Calls, e)
	case LongAnswer:
		r.h.Long = append(r.h.Long, e)
	case Change:
		r.h.Changes = append(r.h.Changes, e)
	case Fault:
		r.h.Faults = append(r.h.Faults, e)
	case Start:
		r.h.Starts = append(r.h.Starts, e)
	case Clock:
		r.h.Clocks = append(r.h.Clocks, e)
	case Meter:
		r.h.Meters = append(r.h.Meters, e)
	case Sample:
		r.h.Samples = append(r.h.Samples, e)
	case Sweep:
		r.h.Sweep = e
	default:
		panic(fmt.Sprintf("faults: a history has no %T", entry))
	}
}

// History returns what was recorded; nothing may be added afterwards.
func (r *Recorder) History() *History {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &r.h
}

// missing is what the history lacks so far to mean anything.
func (r *Recorder) missing() []Violation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return OneGuarantee(&r.h)
}

// Write writes the history as JSON lines, each an object with the name of its kind.
func (h *History) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	e := json.NewEncoder(b)
	err := e.Encode(map[string]any{"bound": h.Bound, "epoch": h.Epoch, "meters": h.Meters, "sweep": h.Sweep})
	err = lines(e, err, "issue", h.Issues)
	err = lines(e, err, "start", h.Starts)
	err = lines(e, err, "clock", h.Clocks)
	err = lines(e, err, "fault", h.Faults)
	err = lines(e, err, "change", h.Changes)
	err = lines(e, err, "sample", h.Samples)
	err = lines(e, err, "long", h.Long)
	err = lines(e, err, "call", h.Calls)
	if err != nil {
		return err
	}
	return b.Flush()
}

func lines[T any](e *json.Encoder, err error, name string, entries []T) error {
	for _, entry := range entries {
		if err != nil {
			return err
		}
		err = e.Encode(map[string]T{name: entry})
	}
	return err
}
