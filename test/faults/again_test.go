package faults

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"testing"
	"time"
)

var again = flag.String("again", "", "a file with a history: it is judged again")

// A history that was kept is judged as the run was.
func TestFaultsAgain(t *testing.T) {
	if *again == "" {
		t.Skip("go test ./test/faults -run Again -args -again FILE runs it")
	}
	file, err := os.Open(*again)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	h, err := ReadHistory(file)
	if err != nil {
		t.Fatal(err)
	}
	report := Validate(h)
	t.Logf("\n%s", report.Figures())
	if len(report.Broken) > 0 {
		t.Error(report.Complaint())
	}
}

func TestAHistoryIsReadAsItWasWritten(t *testing.T) {
	h := simulate(2*time.Second, 1).with(Clock{at(1, 2), ofDatabase, time.Second}, meters[0], sweep(3, 4),
		LongAnswer{Span: at(1, 2), Instance: "one", Credential: "t", Status: 200, Pieces: []Piece{{1, 2}}})
	var written bytes.Buffer
	if err := h.Write(&written); err != nil {
		t.Fatal(err)
	}
	got, err := ReadHistory(&written)
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("%v; %d of %d calls", err, len(got.Calls), len(h.Calls))
	}
}
