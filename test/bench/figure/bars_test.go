package figure

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestBarsAreXMLWithTheirNumbers(t *testing.T) {
	svg := Bars{Title: "a < b", Rows: []Bar{
		{Name: "hot", Low: 79, Middle: 81.25, High: 90, Ours: true},
		{Name: "HTTP", Low: 20_000, Middle: 21_340, High: 1_200_000},
	}}.SVG()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"a &lt; b", ">10 ns<", ">10 ms<", "hot: 81.2 ns, from 79.0 ns to 90.0 ns", `class="ours"`, `class="theirs"`} {
		if !strings.Contains(svg, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if empty := (Bars{}).SVG(); strings.Contains(svg+empty, "NaN") || strings.Contains(svg+empty, "Inf") {
		t.Error("a place that isn't one")
	}
}

func TestNanosecondsHaveThreeDigitsAndAUnit(t *testing.T) {
	for nanos, want := range map[float64]string{
		0.5: "0.50 ns", 33.44: "33.4 ns", 99.97: "100 ns", 999.9: "1.00 µs", 48_123: "48.1 µs", 1_234_567: "1.23 ms", 2.5e9: "2.50 s",
	} {
		if got := Nanos(nanos); got != want {
			t.Errorf("%v is %s, want %s", nanos, got, want)
		}
	}
}
