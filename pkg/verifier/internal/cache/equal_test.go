package cache

import (
	"bytes"
	"testing"
)

func TestEqualSeesEachByteOfEachLength(t *testing.T) {
	for n := range 900 {
		// Neither begins at an aligned address, and what lies around them differs.
		a, b := bytes.Repeat([]byte{7}, n+64), bytes.Repeat([]byte{9}, n+64)
		for i := range n {
			a[3+i], b[5+i] = byte(i), byte(i)
		}
		if !equal(string(a[3:3+n]), string(b[5:5+n])) {
			t.Fatalf("%d equal bytes differ", n)
		}
		for i := range n {
			b[5+i] ^= 0x10
			if equal(string(a[3:3+n]), string(b[5:5+n])) {
				t.Fatalf("of %d bytes the one at %d may be another", n, i)
			}
			b[5+i] ^= 0x10
		}
	}
}

func FuzzEqual(f *testing.F) {
	f.Add("", "", "")
	f.Add(string(make([]byte, 128)), "x", "")
	f.Fuzz(func(t *testing.T, head, a, b string) {
		n := min(len(a), len(b))
		for _, pair := range [][2]string{{a[:n], b[:n]}, {head + a[:n], head + b[:n]}, {a[:n] + head, b[:n] + head}, {head, string([]byte(head))}} {
			if equal(pair[0], pair[1]) != (pair[0] == pair[1]) {
				t.Errorf("%d bytes", len(pair[0]))
			}
		}
	})
}
