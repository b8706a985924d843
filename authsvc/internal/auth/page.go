package auth

// PageRequest asks for one page of a list. Limit 0 means 50; more than 200 or less than 0 is refused. Cursor is the
// NextCursor of the page before.
type PageRequest struct {
	Cursor string
	Limit  int
}

// Page is one page of a list. NextCursor is empty on the last page.
type Page[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// check applies the default limit and refuses cursors that no page gave.
func (p PageRequest) check() (PageRequest, error) {
	if p.Limit == 0 {
		p.Limit = defaultLimit
	}
	if p.Limit < 0 || p.Limit > maxLimit {
		return p, invalid("limit", "must be between 1 and 200")
	}
	if p.Cursor != "" && checkID("", p.Cursor) != nil {
		return p, invalid("cursor", "must be the next_cursor of another page")
	}
	return p, nil
}

// pageOf makes a page of rows that were read with one more than the limit, to see whether there is a next page.
// The cursor is the last row's id.
func pageOf[R, T any](rows []R, limit int, show func(R) T, id func(R) string) Page[T] {
	var next string
	if len(rows) > limit && limit > 0 {
		rows = rows[:limit]
		next = id(rows[limit-1])
	}
	page := Page[T]{Items: make([]T, 0, len(rows)), NextCursor: next}
	for _, row := range rows {
		page.Items = append(page.Items, show(row))
	}
	return page
}

// descending drops the rows of a newest-first list up to and including the cursor's.
func descending[R any](rows []R, cursor string, id func(R) string) []R {
	if cursor == "" {
		return rows
	}
	for i, row := range rows {
		if id(row) < cursor {
			return rows[i:]
		}
	}
	return nil
}
