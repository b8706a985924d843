//go:build tocsin_defects

package clock

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestDefectiveClockIsOffByWhatItsFileSays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "offset")
	offset := OffsetIn(path)
	if got := offset(); got != 0 {
		t.Fatalf("%v without a file", got)
	}
	for _, want := range []time.Duration{5 * time.Minute, -90 * time.Second} {
		if err := os.WriteFile(path, []byte(want.String()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := offset(); got != want {
			t.Errorf("%v, want %v", got, want)
		}
	}
}
