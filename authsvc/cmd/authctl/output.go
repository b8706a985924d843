package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// printer writes results to w, and what isn't part of them to notes.
type printer struct {
	w, notes io.Writer
	json     bool
}

// raw prints an answer as it came, indented.
func (p *printer) raw(body json.RawMessage) error {
	var indented bytes.Buffer
	if err := json.Indent(&indented, body, "", "  "); err != nil {
		return fmt.Errorf("the answer is not JSON: %w", err)
	}
	indented.WriteByte('\n')
	_, err := p.w.Write(indented.Bytes())
	return err
}

// fields prints one thing as lines of name and value; empty values are left out. With --json it prints body, or when
// body is nil an object of the fields.
func (p *printer) fields(body json.RawMessage, pairs ...string) error {
	if p.json && body != nil {
		return p.raw(body)
	}
	if p.json {
		return p.object(pairs)
	}
	t := tabwriter.NewWriter(p.w, 0, 4, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", pairs[i], printable(pairs[i+1]))
		}
	}
	return t.Flush()
}

func (p *printer) object(pairs []string) error {
	object := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		object[pairs[i]] = pairs[i+1]
	}
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return p.raw(body)
}

// table prints a list with a heading.
func (p *printer) table(heading string, rows [][]string) error {
	t := tabwriter.NewWriter(p.w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, strings.ReplaceAll(heading, " ", "\t"))
	for _, row := range rows {
		for i := range row {
			row[i] = printable(row[i])
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// receipt prints what is known of a change's way to the verifiers.
func (p *printer) receipt(a answer) error {
	body := a.receipt
	if len(body) == 0 {
		body = a.body
	}
	if len(body) == 0 {
		return nil
	}
	if p.json {
		return p.raw(body)
	}
	var r receipt
	if err := json.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("read the receipt: %w", err)
	}
	return p.fields(nil, r.pairs()...)
}

type receipt struct {
	EventID   *string `json:"event_id"`
	Seq       *uint64 `json:"seq"`
	Published bool    `json:"published"`
	Fleet     *struct {
		Applied  int               `json:"applied"`
		Total    *int              `json:"total"`
		Laggards []json.RawMessage `json:"laggards"`
	} `json:"fleet"`
	Elapsed float64 `json:"elapsed_ms"`
}

func (r receipt) pairs() []string {
	if r.EventID == nil {
		return []string{"event", "none: nothing changed"}
	}
	pairs := []string{"event", *r.EventID, "published", yesNo(r.Published), "took", fmt.Sprintf("%.1f ms", r.Elapsed)}
	if r.Seq != nil {
		pairs = append(pairs, "seq", fmt.Sprint(*r.Seq))
	}
	if r.Fleet == nil {
		return pairs
	}
	total := "an unknown number of" // a replica that just started can't know yet
	if r.Fleet.Total != nil {
		total = fmt.Sprint(*r.Fleet.Total)
	}
	pairs = append(pairs, "fleet", fmt.Sprintf("applied by %d of %s verifiers", r.Fleet.Applied, total))
	for _, laggard := range r.Fleet.Laggards {
		pairs = append(pairs, "laggard", string(laggard))
	}
	return pairs
}

// printable shows control characters instead of sending them to the terminal: names come from other people.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func when(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateTime)
}

// page is one page of a list.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next_cursor"`
}

// list prints a page: as it came, or one row for each item.
func list[T any](p *printer, body json.RawMessage, heading string, row func(T) []string) error {
	if p.json {
		return p.raw(body)
	}
	var got page[T]
	if err := json.Unmarshal(body, &got); err != nil {
		return fmt.Errorf("read the list: %w", err)
	}
	rows := make([][]string, len(got.Items))
	for i, item := range got.Items {
		rows[i] = row(item)
	}
	if err := p.table(heading, rows); err != nil {
		return err
	}
	if got.Next != "" {
		fmt.Fprintln(p.notes, "there is more: --cursor", printable(got.Next))
	}
	return nil
}
