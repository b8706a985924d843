package fleet

import (
	"testing"
	"time"
)

func TestAHistogramIsExactToThreePercent(t *testing.T) {
	for n := int64(0); n < int64(time.Hour); n += 1 + n/7 {
		in := class(n)
		if longest := int64(top(in)); longest < n || float64(longest) > float64(n)*1.04+1 {
			t.Fatalf("%d ns is in the class up to %d ns", n, longest)
		}
		if n > 0 && class(n-1) > in {
			t.Fatalf("%d ns is in an earlier class than %d ns", n, n-1)
		}
	}
	h := Histogram{}
	for i := range 100 {
		h.Add(time.Duration(i))
	}
	if p50, p99, most := h.At(0.5), h.At(0.99), h.At(1); p50 != 49 || p99 < 98 || most < 99 || most > 103 {
		t.Errorf("p50 %d, p99 %d, max %d", p50, p99, most)
	}
	if (Histogram{}).At(0.5) != 0 {
		t.Error("nothing has no median")
	}
}
