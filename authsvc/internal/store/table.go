package store

import (
	"fmt"
	"strconv"
	"strings"
)

// column is what many rows have in one column; one of the three.
type column struct {
	texts   []string
	numbers []int64
	truths  []bool
}

// array is the column as a parameter of PostgreSQL, with the type of its elements.
func (c column) array() (kind string, values any) {
	switch {
	case c.texts != nil:
		return "TEXT", c.texts
	case c.numbers != nil:
		return "BIGINT", c.numbers
	}
	return "BOOLEAN", c.truths
}

// appendJSON appends the value of a row.
func (c column) appendJSON(to []byte, row int) []byte {
	switch {
	case c.texts != nil:
		return append(to, jsonText(c.texts[row])...)
	case c.numbers != nil:
		return strconv.AppendInt(to, c.numbers[row], 10)
	}
	return strconv.AppendBool(to, c.truths[row])
}

// columnsOf makes columns of rows, of which there is at least one: text, number or truth value.
func columnsOf[T any](rows []T, cells func(T) []any) []column {
	columns := make([]column, len(cells(rows[0])))
	for _, row := range rows {
		for i, cell := range cells(row) {
			switch v := cell.(type) {
			case string:
				columns[i].texts = append(columns[i].texts, v)
			case int64:
				columns[i].numbers = append(columns[i].numbers, v)
			case bool:
				columns[i].truths = append(columns[i].truths, v)
			default:
				panic(fmt.Sprintf("store: a cell of type %T", cell))
			}
		}
	}
	return columns
}

// postgresTable is one array for each column.
func postgresTable(first int, columns []column) (source string, args []any) {
	arrays, names := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		kind, values := c.array()
		arrays[i], names[i] = fmt.Sprintf("CAST($%d AS %s[])", first+i, kind), "c"+strconv.Itoa(i+1)
		args = append(args, values)
	}
	return "unnest(" + strings.Join(arrays, ", ") + ") AS asked (" + strings.Join(names, ", ") + ")", args
}

// sqliteTable is one JSON text, so that any number of rows is one statement. The first column MUST be of texts. The driver
// looks for each parameter among all.
func sqliteTable(first int, columns []column) (source string, args []any) {
	names := make([]string, len(columns))
	for i := range columns {
		names[i] = fmt.Sprintf("json_extract(value, '$[%d]') AS c%d", i, i+1)
	}
	whole := []byte{'['}
	for row := range columns[0].texts {
		if row > 0 {
			whole = append(whole, ',')
		}
		for i, c := range columns {
			whole = append(whole, "[,"[min(i, 1)])
			whole = c.appendJSON(whole, row)
		}
		whole = append(whole, ']')
	}
	whole = append(whole, ']')
	return fmt.Sprintf("(SELECT %s FROM json_each($%d)) AS asked", strings.Join(names, ", "), first), []any{string(whole)}
}
