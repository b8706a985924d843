package routes

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// node is a place in the file. Errors begin with its name, as routes[2].paths[0].
type node struct {
	*yaml.Node
	name string
}

func (n node) wrong(format string, args ...any) error {
	name := n.name
	if name == "" {
		name = "the file"
	}
	return fmt.Errorf("%s (line %d): %s", name, n.Line, fmt.Sprintf(format, args...))
}

// parse reads one document. Anchors, aliases and tags are refused: a route must be readable where it stands.
func parse(data []byte) (node, error) {
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	var document, more yaml.Node
	if err := decoder.Decode(&document); err != nil {
		return node{}, fmt.Errorf("not YAML: %s", strings.Join(strings.Fields(err.Error()), " "))
	}
	if err := decoder.Decode(&more); err == nil || !errors.Is(err, io.EOF) {
		return node{}, errors.New("the file must hold one YAML document")
	}
	return node{document.Content[0], ""}, nil
}

// fields calls what reads each field of a mapping. Unknown and repeated fields are errors, missing required ones too.
func (n node) fields(known map[string]func(node) error, required ...string) error {
	if n.Kind != yaml.MappingNode || n.Anchor != "" {
		return n.wrong("a mapping is wanted")
	}
	var seen []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		field := node{n.Content[i+1], strings.TrimPrefix(n.name+"."+key.Value, ".")}
		read, ok := known[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || key.Tag == "!!merge" || !ok:
			return field.wrong("unknown field")
		case slices.Contains(seen, key.Value):
			return field.wrong("given twice")
		}
		seen = append(seen, key.Value)
		if err := read(field); err != nil {
			return err
		}
	}
	for _, name := range required {
		if !slices.Contains(seen, name) {
			return n.wrong("%s is missing", name)
		}
	}
	return nil
}

// items calls what reads each item of a list that isn't empty.
func (n node) items(read func(node) error) error {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 || n.Anchor != "" {
		return n.wrong("a list with at least one item is wanted")
	}
	for i, item := range n.Content {
		if err := read(node{item, fmt.Sprintf("%s[%d]", n.name, i)}); err != nil {
			return err
		}
	}
	return nil
}

// text reads a string; what YAML takes for a number or a truth value has to be quoted.
func (n node) text() (string, error) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		return "", n.wrong("a string is wanted")
	}
	return n.Value, nil
}

// word reads a string that passes a check; want says what that is.
func (n node) word(ok func(string) bool, want string) (string, error) {
	s, err := n.text()
	if err == nil && !ok(s) {
		err = n.wrong("%s is wanted", want)
	}
	return s, err
}

func (n node) oneOf(names ...string) (string, error) {
	return n.word(func(s string) bool { return slices.Contains(names, s) }, "one of "+strings.Join(names, ", "))
}

// words reads a list of different strings.
func (n node) words(ok func(string) bool, want string) (all []string, err error) {
	err = n.items(func(item node) error {
		s, err := item.word(ok, want)
		if err == nil && slices.Contains(all, s) {
			err = item.wrong("given twice")
		}
		all = append(all, s)
		return err
	})
	return all, err
}

// duration reads one of Go's, above 0.
func (n node) duration() (time.Duration, error) {
	s, err := n.text()
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || !isDuration.MatchString(s) {
		return 0, n.wrong("a duration above 0 is wanted, as 5s or 1m30s")
	}
	return d, nil
}
