package speed

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tocsin-auth/tocsin/test/system"
)

// committed is what a page says, as far as a later run is compared with it.
type committed struct {
	ratios map[string]float64
	allocs map[string]int // the exact ones only
}

// compare fails the test for each ratio that is worse than its tolerance allows, and for each exact count that differs.
func (s session) compare(t *testing.T, folder string) {
	t.Helper()
	name, page, err := newest(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("compared with %s", name)
	for _, worse := range s.against(readPage(page)) {
		t.Errorf("%s (committed in %s)", worse, name)
	}
}

// against says what is worse or different. What either run hasn't measured isn't compared.
func (s session) against(before committed) (found []string) {
	for _, r := range ratios {
		was, known := before.ratios[r.name()]
		all := r.by(s)
		if !known || all == nil {
			continue
		}
		if _, now, _ := span(all); now < was/r.tolerance {
			found = append(found, fmt.Sprintf("%s: was %s times as fast, is %s; at least %s is wanted (tolerance %.2f)",
				r.name(), digits(was), digits(now), digits(was/r.tolerance), r.tolerance))
		}
	}
	for _, m := range s {
		if was, known := before.allocs[m.name]; known && m.exact && was != m.allocs {
			found = append(found, fmt.Sprintf("%s: was %d allocations, is %d; if that is meant, commit the results of make bench", m.name, was, m.allocs))
		}
	}
	return found
}

// newest returns the page with the latest date that has our tables.
func newest(folder string) (name, page string, err error) {
	root, err := system.Root()
	if err != nil {
		return "", "", err
	}
	if !filepath.IsAbs(folder) {
		folder = filepath.Join(root, folder)
	}
	files, err := filepath.Glob(filepath.Join(folder, "????-??-??.md"))
	if err != nil {
		return "", "", err
	}
	slices.Sort(files)
	for _, file := range slices.Backward(files) {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", "", err
		}
		if strings.Contains(string(b), "\n| "+ratiosHead+" |") {
			return filepath.Base(file), string(b), nil
		}
	}
	return "", "", fmt.Errorf("no page of make bench in %s: commit one first", folder)
}

// readPage reads the two tables of a page.
func readPage(page string) committed {
	c := committed{ratios: map[string]float64{}, allocs: map[string]int{}}
	head := ""
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case len(cells) != 5:
			head = ""
		case head == "":
			head = cells[0]
		case head == ratiosHead:
			if value, err := strconv.ParseFloat(cells[1], 64); err == nil {
				c.ratios[cells[0]] = value
			}
		case head == rowsHead:
			if count, exact := strings.CutPrefix(cells[4], "= "); exact {
				if n, err := strconv.Atoi(count); err == nil {
					c.allocs[cells[0]] = n
				}
			}
		}
	}
	return c
}

// small is a run of two contenders, with as many times.
func small(ours, theirs float64, allocs int) session {
	return session{
		{contender: contender{name: hot, exact: true}, nanos: []float64{ours, ours * 1.1, ours * 0.9}, allocs: allocs},
		{contender: contender{name: jwtEdDSA, exact: true}, nanos: []float64{theirs, theirs * 1.1, theirs * 0.9}, allocs: 60},
	}
}

func TestAPageIsReadAsItWasWritten(t *testing.T) {
	s := small(80, 48_000, 0)
	got := readPage(s.page("nowhere", &world{token: "x"}))
	if len(got.ratios) != 1 || got.ratios[ratio{ours: hot, theirs: jwtEdDSA}.name()] != 600 {
		t.Errorf("ratios: %v", got.ratios)
	}
	if len(got.allocs) != 2 || got.allocs[jwtEdDSA] != 60 {
		t.Errorf("allocations: %v", got.allocs)
	}
}

func TestARunFailsForWhatIsWorseThanCommitted(t *testing.T) {
	before := readPage(small(80, 48_000, 0).page("nowhere", &world{token: "x"}))
	for name, c := range map[string]struct {
		run  session
		want string
	}{
		"the same":                      {small(80, 48_000, 0), ""},
		"another machine":               {small(800, 480_000, 0), ""},
		"within the tolerance":          {small(100, 48_000, 0), ""},
		"better":                        {small(20, 48_000, 0), ""},
		"slower":                        {small(120, 48_000, 0), "was 600 times as fast, is 400; at least 444 is wanted"},
		"an allocation":                 {small(80, 48_000, 1), "was 0 allocations, is 1"},
		"nothing to compare with it by": {small(80, 48_000, 0)[:1], ""},
	} {
		found := strings.Join(c.run.against(before), "\n")
		if c.want == "" && found != "" || !strings.Contains(found, c.want) {
			t.Errorf("%s: %q, want %q", name, found, c.want)
		}
	}
}
