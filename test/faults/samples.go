package faults

import (
	"context"
	"encoding/json"
	"time"
)

const samplePause = 50 * time.Millisecond

// keepSampling asks an instance how fresh it is until the context ends.
func (s *System) keepSampling(ctx context.Context, r *Resource) {
	for pause(ctx, samplePause) {
		if said, ok := s.sample(ctx, r); ok {
			s.Recorder.Add(said)
		}
	}
}

func (s *System) sample(ctx context.Context, r *Resource) (Sample, bool) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	begin := s.Recorder.Now()
	answer, err := r.Try(ctx, "GET", "/v1/verifier", "", nil)
	var said struct {
		State     string
		Age       float64 `json:"proof_age_ms"`
		Uncounted int     `json:"quota_uncounted"`
	}
	if err != nil || json.Unmarshal(answer.Body, &said) != nil {
		return Sample{}, false
	}
	return Sample{Span: Span{begin, s.Recorder.Now()}, Instance: r.Instance, Fresh: said.State == "fresh",
		Age: time.Duration(said.Age * float64(time.Millisecond)), Uncounted: said.Uncounted}, true
}
