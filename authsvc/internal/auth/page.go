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
