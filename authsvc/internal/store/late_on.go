//go:build tocsin_defects && linux

package store

import (
	"context"

	"github.com/tocsin-auth/tocsin/authsvc/internal/defect"
)

// lateEvents are the events that are written after their change, with [defect.LateEvent].
type lateEvents [][]any

func (l *lateEvents) keep(row []any) { *l = append(*l, row) }

// committed writes them beside the call, which returns meanwhile. Nobody waits for it: that is the defect.
func (l *lateEvents) committed(db *DB, err error) {
	if err != nil || len(*l) == 0 {
		return
	}
	rows := *l
	go func() {
		defect.Reach(defect.Late)
		ctx := context.Background()
		err := db.Update(ctx, func(tx *Tx) error {
			for _, row := range rows {
				if _, err := tx.exec(ctx, insertEvent, row...); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			db.log.Error("events are lost", "error", err)
		}
	}()
}
