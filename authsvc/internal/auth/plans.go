package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tocsin-auth/tocsin/authsvc/internal/store"
	"github.com/tocsin-auth/tocsin/pkg/events"
)

// Bounds of plans.
const (
	maxPlans      = 100
	maxPlanLimits = 64
	// MaxPlanLimit bounds a limit; sums of what is counted stay far from overflowing.
	MaxPlanLimit = 1_000_000_000_000
	minWindow    = time.Second
	maxWindow    = 31 * 24 * time.Hour
)

// Plan is what its users may spend.
type Plan struct {
	Name   string      `json:"name" doc:"[a-z0-9_-]{1,32}"`
	Limits []PlanLimit `json:"limits" maxItems:"64" doc:"A resource that isn't among them has no limit"`
}

// PlanLimit bounds the requests to a resource in a window.
type PlanLimit struct {
	Resource string `json:"resource" doc:"[a-z0-9_-]{1,32}, as resource services name it"`
	Limit    int64  `json:"limit" minimum:"0" maximum:"1000000000000" doc:"Requests of a user in a window, over all keys, sessions and services; 0: none"`
	Window   string `json:"window" maxLength:"32" doc:"1s to 744h in whole seconds, such as 1m or 24h. Windows of a length follow one another from the epoch of Unix time on; a resource has at most 4"`
}

// Plans are all plans, and who has none of them.
type Plans struct {
	Plans []Plan `json:"plans"`
	// Unlimited counts the users by plans that aren't among them.
	Unlimited map[string]int `json:"unlimited,omitempty" doc:"How many users have a plan that isn't among these, by its name: nothing limits them"`
}

// Plans lists the plans for admins.
func (s *Service) Plans(ctx context.Context, c Caller) (Plans, error) {
	var rows []store.Plan
	var users map[string]int
	err := s.view(ctx, func(tx *store.Tx) (err error) {
		if err = admin(ctx, tx, c); err != nil {
			return err
		}
		if rows, err = tx.Plans(ctx); err != nil {
			return err
		}
		users, err = tx.CountUsersByPlan(ctx)
		return err
	})
	if err != nil {
		return Plans{}, err
	}
	out := Plans{Plans: make([]Plan, 0, len(rows)), Unlimited: users}
	for _, row := range rows {
		out.Plans = append(out.Plans, showPlan(row))
		delete(users, row.Name)
	}
	return out, nil
}

func showPlan(row store.Plan) Plan {
	p := Plan{Name: row.Name, Limits: make([]PlanLimit, 0, len(row.Limits))}
	for _, l := range row.Limits {
		p.Limits = append(p.Limits, PlanLimit{Resource: l.Resource, Limit: l.Limit, Window: windowText(l.Seconds)})
	}
	return p
}

// windowText writes a window as people do: 1h, not 1h0m0s.
func windowText(seconds int64) string {
	text := (time.Duration(seconds) * time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// SetPlans replaces all plans, for admins. It holds from the next question of each instance on; users whose plan isn't among them
// have no limits.
func (s *Service) SetPlans(ctx context.Context, c Caller, plans []Plan) (Plans, error) {
	rows, err := checkPlans(plans)
	if err != nil {
		return Plans{}, err
	}
	_, err = s.change(ctx, c, func(w *work) error {
		if _, err := w.LockAdmins(ctx); err != nil { // of two lists the second replaces the first whole
			return err
		}
		if err := w.lockAdmin(ctx); err != nil {
			return err
		}
		if err := w.SetPlans(ctx, rows); err != nil {
			return err
		}
		return w.record(ctx, deed{action: "plans.set", target: targetPlans, detail: map[string]any{"plans": plans}})
	})
	if err != nil {
		return Plans{}, err
	}
	return s.Plans(ctx, c)
}

func checkPlans(plans []Plan) ([]store.Plan, error) {
	if len(plans) > maxPlans {
		return nil, invalid("plans", "must have at most 100 entries")
	}
	rows := make([]store.Plan, 0, len(plans))
	names := map[string]bool{}
	for i, p := range plans {
		field := fmt.Sprintf("plans[%d]", i)
		if err := checkName(field+".name", p.Name); err != nil {
			return nil, err
		}
		if names[p.Name] {
			return nil, invalid(field+".name", "must not be given twice")
		}
		names[p.Name] = true
		limits, err := checkLimits(field+".limits", p.Limits)
		if err != nil {
			return nil, err
		}
		rows = append(rows, store.Plan{Name: p.Name, Limits: limits})
	}
	return rows, nil
}

func checkLimits(field string, limits []PlanLimit) ([]store.PlanLimit, error) {
	if len(limits) > maxPlanLimits {
		return nil, invalid(field, "must have at most 64 entries")
	}
	rows := make([]store.PlanLimit, 0, len(limits))
	windows := map[string][]int64{}
	for i, l := range limits {
		field := fmt.Sprintf("%s[%d]", field, i)
		if err := checkName(field+".resource", l.Resource); err != nil {
			return nil, err
		}
		if l.Limit < 0 || l.Limit > MaxPlanLimit {
			return nil, invalid(field+".limit", "must be 0 to 1000000000000")
		}
		window, err := time.ParseDuration(l.Window)
		if err != nil || window < minWindow || window > maxWindow || window%time.Second != 0 {
			return nil, invalid(field+".window", "must be a duration such as 1h, of whole seconds from 1s to 744h")
		}
		seconds := int64(window / time.Second)
		switch of := windows[l.Resource]; {
		case slices.Contains(of, seconds):
			return nil, invalid(field+".window", "must not be given twice for a resource")
		case len(of) == events.MaxQuotaWindows:
			return nil, invalid(field+".resource", "must have at most 4 limits")
		}
		windows[l.Resource] = append(windows[l.Resource], seconds)
		rows = append(rows, store.PlanLimit{Resource: l.Resource, Limit: l.Limit, Seconds: seconds})
	}
	return rows, nil
}
