package faults

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const samplePause = 50 * time.Millisecond

// keepSampling asks an instance how fresh it is until the context ends.
func (s *System) keepSampling(ctx context.Context, r *Resource) {
	for pause(ctx, samplePause) {
		s.sample(ctx, r)
	}
}

func (s *System) sample(ctx context.Context, r *Resource) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	begin := s.Recorder.Now()
	answer, err := r.Try(ctx, "GET", "/v1/verifier", "", nil)
	var said struct {
		State string
		Age   float64 `json:"proof_age_ms"`
	}
	if err != nil || json.Unmarshal(answer.Body, &said) != nil {
		return
	}
	s.Recorder.Add(Sample{Span: Span{begin, s.Recorder.Now()}, Instance: r.Instance, Fresh: said.State == "fresh",
		Age: time.Duration(said.Age * float64(time.Millisecond))})
}

// kindFigures is what faults of one kind did to the fleet.
type kindFigures struct {
	times    int
	oldest   time.Duration // proof, from the fault's start until a second after its end
	recovery time.Duration // from a fault's end until an instance that wasn't fresh at that moment was
	// of the faults of this kind, how many left events behind
	unnumbered, unpublished int
}

// faultFigures tells of each kind of fault how often it was injected and what the instances said of their freshness.
func faultFigures(h *History) string {
	kinds := map[string]*kindFigures{}
	total := 0
	samples := slices.Clone(h.Samples)
	slices.SortFunc(samples, func(a, b Sample) int { return cmp.Compare(a.Begin, b.Begin) })
	for _, f := range h.Faults {
		if kinds[f.Kind] == nil {
			kinds[f.Kind] = &kindFigures{}
		}
		k := kinds[f.Kind]
		k.times++
		k.unnumbered += min(1, f.Waiting.Unnumbered)
		k.unpublished += min(1, f.Waiting.Unpublished)
		total++
		from, _ := slices.BinarySearchFunc(samples, f.Begin, func(s Sample, t time.Duration) int { return cmp.Compare(s.Begin, t) })
		k.look(f, samples[from:])
	}
	text := fmt.Sprintf("faults: %d (times, oldest proof, fresh again after)", total)
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		k := kinds[name]
		text += fmt.Sprintf("\n%5d  %8v  %8v  %s", k.times, k.oldest.Round(time.Millisecond), k.recovery.Round(time.Millisecond), name)
		if k.unnumbered+k.unpublished > 0 {
			text += fmt.Sprintf("; %d left committed events without a number, %d left numbered ones unpublished", k.unnumbered, k.unpublished)
		}
	}
	return strings.TrimSpace(text)
}

// look reads the samples from a fault's start on.
func (k *kindFigures) look(f Fault, samples []Sample) {
	const after = 10 * time.Second
	stale, again := map[string]bool{}, map[string]bool{}
	for _, s := range samples {
		switch {
		case s.Begin > f.End+after:
			return
		case s.End <= f.End:
			k.oldest = max(k.oldest, s.Age)
			stale[s.Instance] = !s.Fresh
		case s.Begin > f.End && s.Fresh && !again[s.Instance]:
			again[s.Instance] = true
			if stale[s.Instance] {
				k.recovery = max(k.recovery, s.Begin-f.End)
			}
		}
	}
}
