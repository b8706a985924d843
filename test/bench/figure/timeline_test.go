package figure

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestATimelineIsXMLWithItsMarks(t *testing.T) {
	svg := Timeline{Title: "a < b", From: -time.Second, To: 2 * time.Second, Marks: []Mark{{At: 0, Name: "the call"}},
		Lines: []Series{{Name: "p50", At: []time.Duration{0, time.Second}, Y: []time.Duration{0, time.Microsecond}}, {Name: "none"}}}.SVG()
	for d := xml.NewDecoder(strings.NewReader(svg + Timeline{}.SVG())); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"a &lt; b", ">the call<", ">-1000 ms<", ">2000 ms<", ">1 µs<"} {
		if !strings.Contains(svg, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if empty := (Timeline{}).SVG(); strings.Contains(svg+empty, "NaN") || strings.Contains(svg+empty, "Inf") {
		t.Error("a place that isn't one")
	}
}
