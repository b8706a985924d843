package faults

import (
	"encoding/json"
	"errors"
	"io"
)

// ReadHistory reads what [History.Write] wrote, so that it can be judged again.
func ReadHistory(r io.Reader) (*History, error) {
	lines := json.NewDecoder(r)
	h := &History{}
	if err := lines.Decode(h); err != nil {
		return nil, err
	}
	for {
		var line struct {
			Issue  *Issue
			Start  *Start
			Clock  *Clock
			Fault  *Fault
			Change *Change
			Sample *Sample
			Long   *LongAnswer
			Call   *Call
		}
		if err := lines.Decode(&line); errors.Is(err, io.EOF) {
			return h, nil
		} else if err != nil {
			return nil, err
		}
		add(&h.Issues, line.Issue)
		add(&h.Starts, line.Start)
		add(&h.Clocks, line.Clock)
		add(&h.Faults, line.Fault)
		add(&h.Changes, line.Change)
		add(&h.Samples, line.Sample)
		add(&h.Long, line.Long)
		add(&h.Calls, line.Call)
	}
}

func add[T any](all *[]T, one *T) {
	if one != nil {
		*all = append(*all, *one)
	}
}
