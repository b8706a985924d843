package feedtest

import "github.com/tocsin-auth/tocsin/authsvc/internal/store"

// JournalDefects take away, one at a time, what a journal MUST promise. Tests show with them that it is needed.
type JournalDefects struct {
	// Unfenced: a numbering transaction looks neither at the term nor at what others have numbered.
	Unfenced bool
	// Cursor: rows are numbered in the order of their ids, and none below the last is looked for.
	Cursor bool
	// HideMore: it isn't told that a limit has left rows unnumbered.
	HideMore bool
	// EagerFloor: the floor passes over events that still concern somebody.
	EagerFloor bool
}

// passedOver reports whether a cursor has gone past an unnumbered row.
func (j *Journal) passedOver(row *Row) bool {
	if !j.Defects.Cursor {
		return false
	}
	for _, other := range j.rows {
		if other.Epoch != "" && other.ID > row.ID {
			return true
		}
	}
	return false
}

func (j *Journal) damage(n *store.Numbered) {
	n.More = n.More && !j.Defects.HideMore
	if j.Defects.EagerFloor {
		j.state.floor = j.state.Head + 1
	}
}
