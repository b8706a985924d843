package store

import (
	"encoding/json"
	"fmt"
)

// textList is a list of strings in a JSON text column; never null.
type textList []string

// scanList makes a scan destination of a list.
func scanList(l *[]string) *textList { return (*textList)(l) }

// Scan implements sql.Scanner.
func (l *textList) Scan(value any) error {
	text, ok := value.(string)
	if !ok {
		return fmt.Errorf("list column holds %T", value)
	}
	if text == "[]" { // most lists
		*l = textList{}
		return nil
	}
	return json.Unmarshal([]byte(text), (*[]string)(l))
}

// listText is the column's text of a list.
func listText(l []string) string {
	if len(l) == 0 {
		return "[]"
	}
	text, err := json.Marshal(l)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(text)
}
