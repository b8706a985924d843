package auth

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A call that issues credentials and races with nothing here is noticed.
func TestEveryCallThatIssuesIsRaced(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var issuers []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && issues(f) {
				issuers = append(issuers, f.Name.Name)
			}
		}
	}
	raced := []string{"Bootstrap"} // makes the first user, before anything can be ended
	for _, i := range issuingCalls() {
		raced = append(raced, i.by)
	}
	slices.Sort(issuers)
	slices.Sort(raced)
	if diff := cmp.Diff(slices.Compact(raced), issuers); diff != "" {
		t.Errorf("functions that call s.issue (-raced +there are):\n%s", diff)
	}
}

// issues reports whether a function calls s.issue, which alone runs transactions that create credentials.
func issues(f *ast.FuncDecl) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			selector, ok := call.Fun.(*ast.SelectorExpr)
			found = found || ok && selector.Sel.Name == "issue"
		}
		return true
	})
	return found
}
