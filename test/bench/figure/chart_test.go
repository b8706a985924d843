package figure

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestAChartIsXMLWithItsNumbersAndBothBackgrounds(t *testing.T) {
	c := Chart{Title: "a < b", X: "verifiers", Target: 20 * time.Millisecond, TargetName: "target", Lines: []Line{
		{Name: "p50", X: []int{1, 10, 100}, Y: []time.Duration{0, time.Millisecond, 3 * time.Millisecond}},
		{Name: "max", X: []int{1, 10, 100}, Y: []time.Duration{time.Millisecond, 2 * time.Millisecond, 30 * time.Millisecond}},
	}}
	svg := c.SVG()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"a &lt; b", ">100<", ">0.1 ms<", ">100 ms<", "max, 100: 30.0 ms", "prefers-color-scheme: dark", ">target<"} {
		if !strings.Contains(svg, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Error("a place that isn't one")
	}
}
