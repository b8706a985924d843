package figure

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Timeline is a plot of durations over time; durations are on a logarithmic axis.
type Timeline struct {
	Title, Subtitle string
	From, To        time.Duration
	Lines           []Series // from the lowest to the highest
	Marks           []Mark
}

// Series is one line; At and Y have the same length.
type Series struct {
	Name  string
	At, Y []time.Duration
}

// Mark is a moment with a name.
type Mark struct {
	At   time.Duration
	Name string
}

// SVG returns the picture; it fits light and dark pages.
func (c Timeline) SVG() string {
	y := c.scale()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n", width, height, escape(c.Title))
	b.WriteString(style)
	fmt.Fprintf(&b, `<rect class="page" width="%d" height="%d"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text class="title" x="%d" y="26">%s</text>`+"\n", left, escape(c.Title))
	fmt.Fprintf(&b, `<text x="%d" y="48">%s</text>`+"\n", left, escape(c.Subtitle))
	c.axes(&b, y)
	for i, line := range c.Lines {
		c.draw(&b, i, line, y)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// scale reaches from the decade below the least value to the one above the greatest.
func (c Timeline) scale() scale {
	least, most := math.Inf(1), 0.0
	for _, l := range c.Lines {
		for _, y := range l.Y {
			least, most = min(least, float64(max(y, 1))), max(most, float64(y))
		}
	}
	if most == 0 {
		least, most = 1, 10
	}
	s := scale{decade(least, math.Floor), decade(most, math.Ceil), height - low, top}
	if s.to == s.from {
		s.to *= 10
	}
	return s
}

// x is linear.
func (c Timeline) x(at time.Duration) float64 {
	return left + (width-right-left)*float64(at-c.From)/float64(max(c.To-c.From, 1))
}

func (c Timeline) axes(b *strings.Builder, y scale) {
	for value := y.from; value <= y.to*1.001; value *= 10 {
		at := y.at(value)
		fmt.Fprintf(b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`+"\n", left, width-right, at, at)
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left-8, at+5, power(value))
	}
	const steps = 6
	for i := range steps + 1 {
		when := c.From + (c.To-c.From)*time.Duration(i)/steps
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%d ms</text>`+"\n", c.x(when), height-low+22, when.Milliseconds())
	}
	for i, m := range c.Marks {
		at := c.x(m.At)
		fmt.Fprintf(b, `<line class="target" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n", at, at, top, height-low)
		fmt.Fprintf(b, `<text x="%.1f" y="%d">%s</text>`+"\n", at+4, top+14+17*i, escape(m.Name))
	}
}

func (c Timeline) draw(b *strings.Builder, number int, l Series, y scale) {
	var points []string
	for i := range l.At {
		points = append(points, fmt.Sprintf("%.1f,%.1f", c.x(l.At[i]), y.at(float64(max(l.Y[i], 1)))))
	}
	fmt.Fprintf(b, `<polyline class="l%d" points="%s"/>`+"\n", number, strings.Join(points, " "))
	if len(l.Y) > 0 {
		fmt.Fprintf(b, `<text class="l%d" x="%d" y="%.1f">%s</text>`+"\n", number, width-right+10, y.at(float64(max(l.Y[len(l.Y)-1], 1)))+5, escape(l.Name))
	}
}
