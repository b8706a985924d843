package figure

import (
	"fmt"
	"math"
	"strings"
)

// Bars is a plot of what single operations take, one bar each, on a logarithmic axis: nanoseconds and milliseconds fit on
// one page.
type Bars struct {
	Title, Subtitle string
	Rows            []Bar
}

// Bar is one operation, in nanoseconds, all above 0: the bar is Middle, a thin line spans Low to High. Ours is drawn apart.
type Bar struct {
	Name              string
	Low, Middle, High float64
	Ours              bool
}

// The place of names, and of a bar.
const (
	named, barStep, barHeight = 330, 24, 13
)

const barStyle = `<style>
.ours { fill: #0969da; } .theirs { fill: #8c959f; } .span { stroke: #1f2328; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) { .ours { fill: #58a6ff; } .theirs { fill: #6e7681; } .span { stroke: #e6edf3; } }
</style>
`

// SVG returns the picture; it fits light and dark pages.
func (p Bars) SVG() string {
	x, bottom := p.scale(), top+barStep*len(p.Rows)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n", width, bottom+low, escape(p.Title))
	b.WriteString(style + barStyle)
	fmt.Fprintf(&b, `<rect class="page" width="%d" height="%d"/>`+"\n", width, bottom+low)
	fmt.Fprintf(&b, `<text class="title" x="20" y="26">%s</text>`+"\n", escape(p.Title))
	fmt.Fprintf(&b, `<text x="20" y="48">%s</text>`+"\n", escape(p.Subtitle))
	step := 10.0
	if x.to/x.from > 1e6*1.001 {
		step = 100 // or the names of the powers touch
	}
	for value := x.from; value <= x.to*1.001; value *= step {
		at := x.at(value)
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n", at, at, top, bottom)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", at, bottom+22, power(value))
	}
	for i, row := range p.Rows {
		row.draw(&b, x, top+barStep*i)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// scale reaches from the decade below the least value to the one above the greatest.
func (p Bars) scale() scale {
	least, most := math.Inf(1), 1.0
	for _, row := range p.Rows {
		least, most = min(least, row.Low), max(most, row.High)
	}
	s := scale{decade(min(least, most), math.Floor), decade(most, math.Ceil), named, width - right}
	if s.to == s.from {
		s.to *= 10
	}
	return s
}

func (r Bar) draw(b *strings.Builder, x scale, y int) {
	class, from, to, middle := "theirs", x.at(r.Low), x.at(r.High), y+barStep/2
	if r.Ours {
		class = "ours"
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", named-8, middle+5, escape(r.Name))
	fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d"><title>%s: %s, from %s to %s</title></rect>`+"\n", class, named, middle-barHeight/2,
		max(1, x.at(r.Middle)-named), barHeight, escape(r.Name), Nanos(r.Middle), Nanos(r.Low), Nanos(r.High))
	fmt.Fprintf(b, `<line class="span" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n", from, to, middle, middle)
	fmt.Fprintf(b, `<text x="%.1f" y="%d">%s</text>`+"\n", max(to, x.at(r.Middle))+6, middle+5, Nanos(r.Middle))
}

// power writes a power of ten of nanoseconds.
func power(nanos float64) string {
	value, unit := inUnit(nanos)
	return fmt.Sprintf("%.0f %s", value, unit)
}

// Nanos writes nanoseconds with three digits that count, in the unit that suits them.
func Nanos(nanos float64) string {
	value, unit := inUnit(nanos)
	switch {
	case value >= 99.95:
		return fmt.Sprintf("%.0f %s", value, unit)
	case value >= 9.995:
		return fmt.Sprintf("%.1f %s", value, unit)
	}
	return fmt.Sprintf("%.2f %s", value, unit)
}

func inUnit(nanos float64) (value float64, unit string) {
	switch {
	case nanos >= 999.5e6:
		return nanos / 1e9, "s"
	case nanos >= 999.5e3:
		return nanos / 1e6, "ms"
	case nanos >= 999.5:
		return nanos / 1e3, "µs"
	}
	return nanos, "ns"
}
