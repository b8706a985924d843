package store

import (
	"context"
	"encoding/json"
	"fmt"
)

// Plan is a row of plans.
type Plan struct {
	Name   string
	Limits []PlanLimit
}

// PlanLimit bounds how many requests to a resource a user may make in a window.
type PlanLimit struct {
	Resource string `json:"resource"`
	Limit    int64  `json:"limit"`
	Seconds  int64  `json:"seconds"` // of the window
}

func limitsOf(text string) (limits []PlanLimit, err error) {
	if err := json.Unmarshal([]byte(text), &limits); err != nil {
		return nil, fmt.Errorf("limits of a plan: %w", err)
	}
	return limits, nil
}

func scanPlan(s scanner) (p Plan, err error) {
	var text string
	if err := s.Scan(&p.Name, &text); err != nil {
		return p, err
	}
	p.Limits, err = limitsOf(text)
	return p, err
}

// Plans reads all plans in the order of their names.
func (tx *Tx) Plans(ctx context.Context) ([]Plan, error) {
	return queryAll(ctx, tx, scanPlan, `SELECT name, limits FROM plans ORDER BY name`)
}

// SetPlans replaces all plans.
func (tx *Tx) SetPlans(ctx context.Context, plans []Plan) error {
	if _, err := tx.exec(ctx, `DELETE FROM plans`); err != nil {
		return err
	}
	for _, p := range plans {
		text, err := json.Marshal(p.Limits)
		if err != nil {
			return fmt.Errorf("limits of a plan: %w", err)
		}
		if err := tx.later(ctx, `INSERT INTO plans (name, limits) VALUES ($1, $2)`, p.Name, string(text)); err != nil {
			return err
		}
	}
	return tx.failed
}

// CountUsersByPlan returns how many users have each plan, of those that there are.
func (tx *Tx) CountUsersByPlan(ctx context.Context) (map[string]int, error) {
	counts := map[string]int{}
	_, err := queryAll(ctx, tx, func(s scanner) (none struct{}, err error) {
		var plan string
		var n int
		err = s.Scan(&plan, &n)
		counts[plan] = n
		return none, err
	}, `SELECT plan, count(*) FROM users GROUP BY plan`)
	return counts, err
}

// Limits reads the limits of users, by one statement that begins after the call did, and the time. Who has a plan that there
// isn't, or isn't there, has none.
func (db *DB) Limits(ctx context.Context, users []string) (limits map[string][]PlanLimit, now int64, err error) {
	clock, value := db.clockParameter()
	source, args := db.dialect.table(2, []column{{texts: users}})
	query := `SELECT ` + clock + `, asked.c1, COALESCE(plans.limits, '[]') FROM ` + source + `
		LEFT JOIN users ON users.id = asked.c1 LEFT JOIN plans ON plans.name = users.plan`
	limits = make(map[string][]PlanLimit, len(users))
	err = db.retry(ctx, func() error {
		read := map[string][]PlanLimit{}
		return db.eachRow(ctx, db.reader, func(s scanner) error {
			var user, text string
			if err := s.Scan(&now, &user, &text); err != nil {
				return err
			}
			if _, known := read[text]; !known {
				found, err := limitsOf(text)
				if err != nil {
					return err
				}
				read[text] = found
			}
			limits[user] = read[text]
			return nil
		}, query, append([]any{value}, args...)...)
	})
	return limits, now, err
}

// Plan reads a plan.
func (tx *Tx) Plan(ctx context.Context, name string) (Plan, error) {
	return scanPlan(tx.queryRow(ctx, `SELECT name, limits FROM plans WHERE name = $1`, name))
}
