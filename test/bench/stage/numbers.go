package stage

import (
	"strconv"
	"strings"
	"testing"
)

// Numbers reads the list of a flag, of numbers above 0 with commas between them.
func Numbers(t testing.TB, name, list string) (all []int) {
	t.Helper()
	for field := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			t.Fatalf("-%s: %q is no number above 0", name, field)
		}
		all = append(all, n)
	}
	return all
}
