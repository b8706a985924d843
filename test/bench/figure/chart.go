package figure

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Chart is a plot of durations over a count, both on logarithmic axes. It is written by hand, since a plotting library
// would be the largest dependency of this module for one kind of picture.
type Chart struct {
	Title, Subtitle, X string
	Lines              []Line // from the lowest to the highest
	// Target, if it isn't 0, is drawn as a dashed line of this name.
	Target     time.Duration
	TargetName string
}

// Line is one series; X and Y have the same length, X > 0.
type Line struct {
	Name string
	X    []int
	Y    []time.Duration
}

// The picture in its own units. Lines are named at their right end, where there is room for it.
const (
	width, height         = 760, 440
	left, right, top, low = 70, 90, 72, 60
	finest                = 100 * time.Microsecond // what is less is drawn there
)

// style holds for a light page, and after it for a dark one; the four lines differ in colour and in their dashes. It does without
// variables, which not everything that shows SVG knows.
const style = `<style>
svg { font: 14px system-ui, sans-serif; }
text { fill: #1f2328; } .title { font-size: 16px; font-weight: 600; } .page, circle { fill: #fff; } .grid { stroke: #d1d9e0; }
.target { stroke: #1f2328; stroke-dasharray: 2 4; } polyline { fill: none; stroke-width: 2; } circle { stroke-width: 2; }
.l0 { stroke: #0969da; } .l1 { stroke: #1a7f37; } .l2 { stroke: #9a6700; } .l3 { stroke: #cf222e; }
text.l0 { fill: #0969da; } text.l1 { fill: #1a7f37; } text.l2 { fill: #9a6700; } text.l3 { fill: #cf222e; }
polyline.l1 { stroke-dasharray: 8 3; } polyline.l2 { stroke-dasharray: 3 3; } polyline.l3 { stroke-dasharray: 10 3 2 3; } text { stroke: none !important; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; } .page, circle { fill: #0d1117; } .grid { stroke: #3d444d; } .target { stroke: #e6edf3; }
.l0 { stroke: #58a6ff; } .l1 { stroke: #3fb950; } .l2 { stroke: #d29922; } .l3 { stroke: #ff7b72; }
text.l0 { fill: #58a6ff; } text.l1 { fill: #3fb950; } text.l2 { fill: #d29922; } text.l3 { fill: #ff7b72; }
}
</style>
`

// scale maps values to places, logarithmically.
type scale struct{ from, to, begin, end float64 }

func (s scale) at(value float64) float64 {
	return s.begin + (s.end-s.begin)*math.Log(value/s.from)/math.Log(s.to/s.from)
}

// SVG returns the picture; it fits light and dark pages.
func (c Chart) SVG() string {
	x, y := c.scales()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n", width, height, escape(c.Title))
	b.WriteString(style)
	fmt.Fprintf(&b, `<rect class="page" width="%d" height="%d"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text class="title" x="%d" y="26">%s</text>`+"\n", left, escape(c.Title))
	fmt.Fprintf(&b, `<text x="%d" y="48">%s</text>`+"\n", left, escape(c.Subtitle))
	c.axes(&b, x, y)
	places := c.labels(y)
	for i, line := range c.Lines {
		line.draw(&b, i, x, y, places[i])
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// scales reach from the decade below the least value to the one above the greatest.
func (c Chart) scales() (x, y scale) {
	leastX, mostX, leastY, mostY := math.Inf(1), 0.0, millis(c.Target), millis(c.Target)
	for _, l := range c.Lines {
		for i := range l.X {
			leastX, mostX = min(leastX, float64(l.X[i])), max(mostX, float64(l.X[i]))
			if leastY == 0 {
				leastY = millis(l.Y[i])
			}
			leastY, mostY = min(leastY, millis(l.Y[i])), max(mostY, millis(l.Y[i]))
		}
	}
	x = scale{leastX, max(mostX, 2*leastX), left, width - right}
	y = scale{decade(leastY, math.Floor), decade(mostY, math.Ceil), height - low, top}
	if y.to == y.from {
		y.to *= 10
	}
	return x, y
}

func decade(value float64, round func(float64) float64) float64 {
	return math.Pow(10, round(math.Log10(value)))
}

func millis(d time.Duration) float64 {
	if d == 0 {
		d = finest
	}
	return float64(max(d, finest)) / float64(time.Millisecond)
}

func (c Chart) axes(b *strings.Builder, x, y scale) {
	for value := y.from; value <= y.to*1.001; value *= 10 {
		at := y.at(value)
		fmt.Fprintf(b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`+"\n", left, width-right, at, at)
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end">%s ms</text>`+"\n", left-8, at+5, decimal(value))
	}
	for _, value := range c.counts() {
		at := x.at(float64(value))
		fmt.Fprintf(b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n", at, at, top, height-low)
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", at, height-low+22, value)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (left+width-right)/2, height-14, escape(c.X))
	if c.Target > 0 {
		at := y.at(millis(c.Target))
		fmt.Fprintf(b, `<line class="target" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`+"\n", left, width-right, at, at)
		fmt.Fprintf(b, `<text x="%d" y="%.1f">%s</text>`+"\n", left+6, at-6, escape(c.TargetName))
	}
}

// decimal writes a power of ten; none is below a tenth.
func decimal(value float64) string {
	if value < 0.99 {
		return "0.1"
	}
	return strconv.Itoa(int(math.Round(value)))
}

func (c Chart) counts() []int {
	if len(c.Lines) == 0 {
		return nil
	}
	return c.Lines[0].X
}

// labels returns the heights of the lines' names: at their ends, but never on one another.
func (c Chart) labels(y scale) []float64 {
	const apart = 17
	places := make([]float64, len(c.Lines))
	for i := len(c.Lines) - 1; i >= 0; i-- {
		l := c.Lines[i]
		places[i] = y.at(millis(l.Y[len(l.Y)-1])) + 5
		if i < len(c.Lines)-1 {
			places[i] = max(places[i], places[i+1]+apart)
		}
	}
	return places
}

func (l Line) draw(b *strings.Builder, number int, x, y scale, label float64) {
	var points []string
	for i := range l.X {
		points = append(points, fmt.Sprintf("%.1f,%.1f", x.at(float64(l.X[i])), y.at(millis(l.Y[i]))))
	}
	fmt.Fprintf(b, `<polyline class="l%d" points="%s"/>`+"\n", number, strings.Join(points, " "))
	for i := range l.X {
		fmt.Fprintf(b, `<circle class="l%d" cx="%.1f" cy="%.1f" r="3.5"><title>%s, %d: %s ms</title></circle>`+"\n",
			number, x.at(float64(l.X[i])), y.at(millis(l.Y[i])), escape(l.Name), l.X[i], Millis(l.Y[i]))
	}
	fmt.Fprintf(b, `<text class="l%d" x="%d" y="%.1f">%s</text>`+"\n", number, width-right+10, label, escape(l.Name))
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}
